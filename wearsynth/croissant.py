"""What is said of a table of synthetic people to machines: Croissant metadata."""

from pathlib import Path
from typing import Any

from wearsynth.datasheet import CSV, FORBIDDEN, MAINTENANCE, MISSING, PARQUET, PREPROCESSING, USEFULNESS, USES, Column
from wearsynth.files import sha256

IN_CROISSANT = (  # names of the vocabulary, which stand for themselves
    *("citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet", "format"),
    *("includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex"),
    *("repeated", "replace", "samplingRate", "separator", "source", "subField", "transform"),
)
CONTEXT = {  # as Croissant 1.0 has it: nothing has to be fetched to read the metadata
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{name: f"cr:{name}" for name in IN_CROISSANT},
}


def croissant(columns: list[Column], tables: dict[str, Path], facts: dict[str, str]) -> dict[str, Any]:
    """Describes the table for machines: Croissant 1.0 (docs.mlcommons.org/croissant), with its responsible-AI fields.

    Where it is published, by whom and when, is for whoever publishes it to say: nothing here knows.

    Args:
        columns: of the table.
        tables: the CSV and the Parquet file, by their names in the folder.
        facts: as of `facts_of`.
    """
    formats = {CSV: "text/csv", PARQUET: "application/x-parquet"}
    files = [
        {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "contentUrl": name,
            "contentSize": f"{path.stat().st_size} B",
            "encodingFormat": formats[name],
            "sha256": sha256([path]),
        }
        for name, path in tables.items()
    ]
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"seconds/{column.name}",
            "name": column.name,
            "description": column.meaning + (f" ({column.unit})" if column.unit else ""),
            "dataType": column.type,
            "source": {"fileObject": {"@id": CSV}, "extract": {"column": column.name}},
            **({} if column.low is None else {"minValue": column.low, "maxValue": column.high}),
        }
        for column in columns
    ]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": facts["title"],
        "description": f"{facts['sentence']} {facts['promise']}",
        "license": facts["licence"],
        "version": "1.0.0",
        "dateCreated": facts["day"],
        "citeAs": facts["cite"],
        "isLiveDataset": False,
        "rai:dataCollection": facts["collection"],
        "rai:dataCollectionType": ["Software Collection"],
        "rai:dataCollectionMissingData": MISSING,
        "rai:dataPreprocessingProtocol": [PREPROCESSING],
        "rai:dataAnnotationProtocol": [facts["labels"]],
        "rai:dataUseCases": [*USES],
        "rai:dataLimitations": [*FORBIDDEN, USEFULNESS, facts["descent"]],
        "rai:dataBiases": [facts["biases"]],
        "rai:personalSensitiveInformation": [facts["sensitive"]],
        "rai:dataReleaseMaintenancePlan": MAINTENANCE,
        "distribution": files,
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "seconds",
                "name": "seconds",
                "description": "a row a second of each synthetic person",
                "key": [{"@id": "seconds/subject"}, {"@id": "seconds/time"}],
                "field": fields,
            }
        ],
    }
