"""Run in the environment of requirements/openjd.txt: what its libraries make of a job bundle, as JSON on stdout."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from deadline.client.job_bundle.loader import (
    is_job_bundle_dir,
    read_yaml_or_json_object,
    validate_directory_symlink_containment,
)
from deadline.client.job_bundle.parameters import apply_job_parameters, read_job_bundle_parameters
from deadline.client.job_bundle.submission import AssetReferences, split_parameter_args
from deadline.job_attachments.upload import S3AssetManager
from openjd.model import (
    DocumentType,
    StepParameterSpaceIterator,
    create_job,
    decode_job_template,
    document_string_to_object,
    preprocess_job_parameters,
)


def main(folder: Path) -> None:
    """Prints tasks by step, and what Deadline Cloud would send and upload."""
    template = document_string_to_object(
        document=(folder / "template.json").read_text("utf-8"), document_type=DocumentType.JSON
    )
    decoded = decode_job_template(template=template, supported_extensions=["TASK_CHUNKING"])
    values = preprocess_job_parameters(
        job_template=decoded,
        job_parameter_values=json.loads((folder / "job_parameters.json").read_text("utf-8")),
        job_template_dir=folder,
        current_working_dir=folder,
    )
    job = create_job(job_template=decoded, job_parameter_values=values)
    tasks: dict[str, list[str]] = {}
    for step in job.steps:
        space = step.parameterSpace
        tasks[step.name] = (
            [] if space is None else [str(found["Frame"].value) for found in StepParameterSpaceIterator(space=space)]
        )
    print(json.dumps({"name": job.name, "tasks": tasks, "deadline": deadline_cloud(str(folder))}))


def deadline_cloud(folder: str) -> dict[str, Any]:
    """What `deadline bundle submit` reads before it speaks to AWS."""
    assert is_job_bundle_dir(folder)
    validate_directory_symlink_containment(folder)
    references = AssetReferences.from_dict(read_yaml_or_json_object(folder, "asset_references", False))
    parameters = read_job_bundle_parameters(folder)
    apply_job_parameters([], folder, parameters, references)
    of_deadline, of_job = split_parameter_args(parameters, folder)
    # finds every file that is named, as it does before it hashes and uploads them
    found = S3AssetManager().prepare_paths_for_upload(
        sorted(references.input_filenames | references.input_directories),
        sorted(references.output_directories),
        sorted(references.referenced_paths),
    )
    return {
        "parameters": of_job,
        "of_deadline": of_deadline,
        "uploaded": sorted(str(path) for group in found.asset_groups for path in group.inputs),
        "brought_back": sorted(str(path) for group in found.asset_groups for path in group.outputs),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
