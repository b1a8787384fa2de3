"""The form of questions that a model wants: a small file beside its weights, written in training.

Instruction data in one form have the same file in their folder. Training copies it from there to
the model or the adapter.
"""

from __future__ import annotations

from pydantic import ValidationError

from taiyi_ray import storage
from taiyi_ray.config import explain
from taiyi_ray.errors import ConfigError, ModelError
from taiyi_ray.tasks import assign
from taiyi_ray.tasks.template import AskingForm

ASKING_FILE = "taiyi_ray.json"
"""The name of the file. Its keys are those of AskingForm."""


def asking_form(folder: str) -> AskingForm | None:
    """Return the form that a folder of a model, an adapter or instruction data names, if any.

    Args:
        folder: the address of the folder, local or s3://.

    Raises:
        ModelError: the file is there and does not name a form.
        StorageError: the store cannot be read.
    """
    address = storage.join(storage.absolute(folder), ASKING_FILE)
    data = storage.read(address)
    if data is None:
        return None
    try:
        form = AskingForm.model_validate_json(data)
        assign(list(form.tasks), form.tasks, origin="tasks")
    except ValidationError as error:
        raise ModelError(f"{address}: {explain(error, AskingForm)}") from error
    except ConfigError as error:
        raise ModelError(f"{address}: {error}") from error
    return form


def write_asking_form(folder: str, form: AskingForm) -> None:
    """Write the file that names the form of a model, an adapter or instruction data.

    Args:
        folder: the address of the folder.
        form: the form.

    Raises:
        StorageError: the store cannot be written.
    """
    address = storage.join(storage.absolute(folder), ASKING_FILE)
    storage.replace(address, form.model_dump_json().encode())
