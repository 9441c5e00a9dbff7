"""Keys that name images and patients without saying who they are.

A key is the first 16 hexadecimal digits of HMAC-SHA-256 (RFC 2104) under a secret of the dataset's
owner: without the secret, nobody can test whether a known patient is in the data.
"""

import hashlib
import hmac
from pathlib import Path

from mammo import paths
from mammo.datasets.folders import composed
from mammo.errors import UserError

PUBLIC = "public"
MIN_KEY_BYTES = 32
KEY_DIGITS = 16

# Known to everybody, so it hides nothing: for data without secrets, so that keys can be compared.
_PUBLIC_KEY = b"mammo: fixed public key, for data whose identifiers are public"


def read_dataset_key(key_file: str | None, root: Path) -> bytes:
    """Read the secret under which identifiers are hashed.

    Args:
        key_file: A path; `public` for the fixed public key; None allowed for the phantom only.
        root: The dataset's folder, which tells whether it is the phantom.

    Raises:
        UserError: No key is named, or the file is missing or too short to be a secret.
    """
    if key_file == PUBLIC or (key_file is None and paths.is_phantom(root)):
        return _PUBLIC_KEY
    make_one = (
        "make one with `python -c 'import secrets; print(secrets.token_hex(32))' > dataset.key`, "
        "keep it out of Git and name it in dataset.key_file (or write `public` there if the "
        "patient identifiers are public already)"
    )
    if key_file is None:
        raise UserError(f"params.yaml: dataset.key_file: needed for {root}, got null; {make_one}")
    path = Path(key_file)
    if not path.is_file():
        raise UserError(
            f"params.yaml: dataset.key_file: no such file, got {key_file!r}; {make_one}"
        )
    secret = path.read_bytes().strip()
    if len(secret) < MIN_KEY_BYTES:
        raise UserError(
            f"{path}: a key needs at least {MIN_KEY_BYTES} bytes, got {len(secret)}; {make_one}"
        )
    return secret


def image_key(secret: bytes, path: str) -> str:
    """Name an image by its path below the dataset's root."""
    return _keyed(secret, f"image:{path}")


def patient_key(secret: bytes, patient_id: str) -> str:
    """Name a patient by the identifier in the label table, whatever its Unicode form."""
    return _keyed(secret, f"patient:{composed(patient_id)}")


def _keyed(secret: bytes, message: str) -> str:
    return hmac.new(secret, message.encode(), hashlib.sha256).hexdigest()[:KEY_DIGITS]
