"""The catalogue: every dataset that models are trained and measured on, one YAML file each.

    for document in catalogue.load("bc5cdr", "train", data_root="corpora"):
        print(document.document_id, document.gold.mentions)

An entry says where the files of a dataset lie below a folder, of which format they are, and what
the dataset's own names of types, relations and labels are called here. So documents of all datasets
come with gold in the same terms, and `load` is the only way to a corpus.

Adding a dataset: one file in `rows/`. A parser is a format (`taiyi_ray/formats/`), never a dataset.
"""

from taiyi_ray.catalogue.checks import Checked, check
from taiyi_ray.catalogue.entry import SPLITS, Entry, entries, entry
from taiyi_ray.catalogue.files import DataRoot
from taiyi_ray.catalogue.loading import absent, check_terms, load, present, stored, unseen

__all__ = [
    "SPLITS",
    "Checked",
    "DataRoot",
    "Entry",
    "absent",
    "check",
    "check_terms",
    "entries",
    "entry",
    "load",
    "present",
    "stored",
    "unseen",
]
