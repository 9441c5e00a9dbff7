"""Put each image into the groups that results are broken down by: its maker and the age band.

Both are coarse on purpose, so that the table may leave the hospital: a maker among a handful, ten
years of age, and nobody is the only one of ninety-three.
"""

import re
from datetime import date, datetime

from mammo.dicom.header import Header

# What a Manufacturer (0008,0070) contains, in upper case -> the maker's name. Mergers and the
# spellings of several model lines give one maker many names.
MAKERS = {
    "HOLOGIC": "Hologic",
    "LORAD": "Hologic",
    "GE MEDICAL": "GE",
    "GE HEALTH": "GE",
    "GENERAL ELECTRIC": "GE",
    "SIEMENS": "Siemens",
    "FUJI": "Fujifilm",
    "PHILIPS": "Philips",
    "SECTRA": "Philips",
    "PLANMED": "Planmed",
    "GIOTTO": "Giotto",
    "I.M.S": "Giotto",
    "IMS": "Giotto",
    "METALTRONICA": "Metaltronica",
    "CARESTREAM": "Carestream",
    "KODAK": "Carestream",
    "AGFA": "Agfa",
    "KONICA": "Konica Minolta",
    "PHANTOM ALPHA": "Phantom Alpha",
    "PHANTOM BETA": "Phantom Beta",
    "PHANTOM GAMMA": "Phantom Gamma",
}
UNKNOWN, OTHER = "unknown", "other"
YOUNGEST, OLDEST = 30, 90  # bands beyond them are joined: few are so young or so old
_AGE = re.compile(r"(\d{1,4})([YMWD])")
YEARS_IN = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def maker_of(manufacturer: str) -> str:
    """Name a known maker, `other`, or `unknown` where the header is silent."""
    name = manufacturer.upper()
    if not name:
        return UNKNOWN
    return next((maker for token, maker in MAKERS.items() if token in name), OTHER)


def age_band_of(header: Header | None) -> str:
    """Name the ten years that the patient's age lies in, such as `50-59`; `unknown` without one."""
    age = None if header is None else _age(header)
    if age is None or not 0 <= age <= 120:
        return UNKNOWN
    if age < YOUNGEST:
        return f"under {YOUNGEST}"
    if age >= OLDEST:
        return f"{OLDEST} and over"
    decade = int(age // 10) * 10
    return f"{decade}-{decade + 9}"


def _age(header: Header) -> float | None:
    """Read (0010,1010), or count from the birth to the study (PS3.5 6.2: AS and DA)."""
    age = _AGE.fullmatch(header.patient_age.upper())
    if age:
        return int(age[1]) * YEARS_IN[age[2]]
    born, studied = _date(header.patient_birth_date), _date(header.study_date)
    return (studied - born).days / 365.25 if born and studied else None


def _date(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y%m%d").date()
    except ValueError:
        return None
