"""What a simulated archive draws from: modalities, names, places. Nothing here is about a real person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Technique:
    """How studies of one modality look. ``median`` and ``spread`` are of the log-normal number of instances."""

    modality: str
    sop_class_uids: tuple[str, ...]
    weight: float
    median: float
    spread: float
    most_series: int
    sizes: tuple[tuple[int, int], ...]  # (Rows, Columns)
    most_frames: int
    body_parts: tuple[str, ...]
    series: tuple[str, ...]  # Series Descriptions
    studies: tuple[str, ...]  # Study Descriptions


_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."

TECHNIQUES: Final = (
    Technique(
        "CR", (_STORAGE + "1",), 0.13, 2, 0.4, 2, ((2500, 2048), (1760, 2140)), 1,
        ("CHEST", "HAND", "FOOT", "KNEE"), ("PA", "AP", "LAT"), ("Thorax in 2 Ebenen", "XR HAND", "Chest"),
    ),
    Technique(
        "DX", (_STORAGE + "1.1",), 0.12, 2, 0.5, 3, ((3000, 2992), (2022, 1736)), 1,
        ("CHEST", "PELVIS", "LSPINE", "ANKLE"), ("PA", "LAT", "OBL"), ("XR CHEST 2 VIEWS", "Bassin de face", "LWS"),
    ),
    Technique(
        "MG", (_STORAGE + "1.2", _STORAGE + "13.1.3"), 0.07, 5, 0.3, 4, ((3328, 2560), (4096, 3328)), 60,
        ("BREAST",), ("R CC", "L CC", "R MLO", "L MLO"), ("Screening mammography", "Mammographie beidseits"),
    ),
    Technique(
        "US", (_STORAGE + "6.1", _STORAGE + "3.1"), 0.24, 24, 0.7, 1, ((768, 1024), (600, 800)), 90,
        ("ABDOMEN", "HEART", "NECK"), ("Abdomen", ""), ("US ABDOMEN", "Échographie abdominale", "Schilddrüse"),
    ),
    Technique(
        "CT", (_STORAGE + "2",), 0.16, 190, 0.9, 9, ((512, 512),), 1,
        ("CHEST", "ABDOMEN", "HEAD", "CSPINE"), ("Topogram", "Axial 5 mm", "Lunge 1.0 B60", "MPR cor", "MPR sag"),
        ("CT Thorax/Abdomen mit KM", "CT HEAD W/O CONTRAST", "胸部CT"),
    ),
    Technique(
        "MR", (_STORAGE + "4", _STORAGE + "4.1"), 0.15, 150, 0.8, 14, ((256, 256), (384, 384), (512, 512)), 120,
        ("HEAD", "KNEE", "LSPINE", "PROSTATE"), ("t1_tse_sag", "t2_tse_tra", "ep2d_diff", "FLAIR cor", "localizer"),
        ("MRT Schädel", "IRM du genou", "MR LUMBAR SPINE"),
    ),
    Technique(
        "PT", (_STORAGE + "128",), 0.02, 700, 0.5, 4, ((168, 168), (200, 200)), 1,
        ("WHOLEBODY",), ("WB 3D MAC", "CT AC"), ("PET/CT FDG whole body",),
    ),
    Technique(
        "NM", (_STORAGE + "20",), 0.03, 4, 0.5, 3, ((128, 128), (1024, 256)), 128,
        ("THYROID", "SKELETON"), ("Static", "Tomo"), ("Skelettszintigraphie", "Thyroid scan"),
    ),
    Technique(
        "XA", (_STORAGE + "12.1",), 0.03, 14, 0.6, 12, ((1024, 1024), (512, 512)), 200,
        ("HEART", "HEAD"), ("Coronary LCA", "Coronary RCA", "Run"), ("Herzkatheter", "Coronary angiography"),
    ),
    Technique(
        "SR", (_STORAGE + "88.33", _STORAGE + "88.22"), 0.02, 1, 0.0, 1, (), 1,
        ("",), ("Befund", "Report"), ("Befund", ""),
    ),
    Technique(
        "OT", (_STORAGE + "7",), 0.03, 2, 0.7, 2, ((1080, 1920), (480, 640)), 1,
        ("",), ("Scanned document", ""), ("Import", "CD-Import extern"),
    ),
)  # fmt: skip

MULTI_FRAME_SOP_CLASS_UIDS: Final = frozenset(_STORAGE + suffix for suffix in ("3.1", "4.1", "12.1", "13.1.3", "20"))
DOSE_REPORT_SOP_CLASS_UID: Final = _STORAGE + "88.67"

# (family names, given names) of one language, each with one to three PN component groups (PS3.5 6.2.1).
NAMES: Final = (
    (("Schmidt", "Müller", "Weiß", "Jäger"), ("Jürgen", "Käthe", "Anna", "Max")),
    (("Smith", "O'Brien", "Taylor", "Nguyen"), ("John", "Mary", "Li", "Grace")),
    (("Lefèvre", "Noël", "Garçon"), ("Élodie", "François", "Zoé")),
    (("Łukasiewicz", "Wójcik"), ("Agnieszka", "Paweł")),
    (("Yamada=山田=やまだ", "Suzuki=鈴木=すずき"), ("Tarou=太郎=たろう", "Hanako=花子=はなこ")),
    (("Hong=洪=홍", "Kim=金=김"), ("Gildong=吉洞=길동",)),
    (("Иванов", "Смирнова"), ("Пётр", "Мария")),
    (("الفارابي", "قباني"), ("نزار", "فاطمة")),
    (("Διονυσίου", "Παπαδοπούλου"), ("Διονυσία", "Γιώργος")),
)
REFERRING: Final = ("Weber^Petra^^Dr.", "House^Gregory", "Dupré^Chloé", "Παππάς^Νίκος", "")
ISSUERS: Final = ("HOSPITAL_NORTH", "HOSPITAL_SOUTH", "CLINIC")

# PS3.16 CID 7031 Reason for Removal from Operational Use: those an archive meets.
REASONS: Final = (
    ("113001", "Rejected for Quality Reasons"),
    ("113037", "Rejected for Patient Safety Reasons"),
    ("113038", "Incorrect Modality Worklist Entry"),
    ("113039", "Data Retention Policy Expired"),
)
