"""Tables of curves and the pictures drawn from them."""
