"""Who is studied: classes, the table of images, patients and labels, and the splits."""
