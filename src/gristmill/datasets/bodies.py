"""Bodies of the API of datasets, and what they become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from gristmill.base.errors import FieldError, Invalid
from gristmill.datasets.model import (
    QUERY_CHARS_MAX,
    TEMPLATE_CHARS_MAX,
    TITLE_CHARS_MAX,
    TOP_K_MAX,
    EmbedderChoice,
    Hit,
    MissingKey,
    Mode,
    TemplateOptions,
)

DATASET_IDS_MAX = 200
INT64_MAX = 2**63 - 1


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain NUL")
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text.strip()


Text = Annotated[str, AfterValidator(_storable)]
Title = Annotated[
    str, StringConstraints(min_length=1, max_length=TITLE_CHARS_MAX), AfterValidator(_storable), AfterValidator(_filled)
]
TemplateText = Annotated[str, StringConstraints(max_length=TEMPLATE_CHARS_MAX), AfterValidator(_storable)]
FileTypeName = Literal["csv", "json", "excel"]
DatasetId = Annotated[int, Field(ge=1, le=INT64_MAX)]


class TemplateOptionsBody(BaseModel):
    """How the template is read."""

    model_config = ConfigDict(extra="forbid")

    missing_key: MissingKey = Field(
        "default",
        description="What a key that a row lacks gives: `<no value>`, the zero value, or an error of the row.",
    )
    go_functions_only: bool = Field(default=False, description="Leave only the functions that Go itself has.")

    def options(self) -> TemplateOptions:
        """The same as a noun."""
        return TemplateOptions(self.missing_key, self.go_functions_only)


class EmbedderBody(BaseModel):
    """What makes the vectors."""

    model_config = ConfigDict(extra="forbid")

    kind: Text = Field(max_length=60, examples=["minilm"])
    config: dict[str, Any] = Field(default_factory=dict)

    def choice(self) -> EmbedderChoice:
        """The same as a noun."""
        return EmbedderChoice(self.kind, self.config)


class DatasetPatch(BaseModel):
    """Changes of a dataset; what is absent or null stays."""

    model_config = ConfigDict(extra="forbid")

    title: Title | None = Field(None, description="Display name.")
    template: TemplateText | None = Field(
        None,
        description="Go template that makes a text of each row. A change queues the dataset to be processed.",
        examples=["{{.name}} in {{.city}}"],
    )
    primary_key_field: Text | None = Field(
        None, max_length=1000, description="Column that identifies a row, for detecting changes. Empty: none any more."
    )
    template_options: TemplateOptionsBody | None = None
    embedder: EmbedderBody | None = Field(None, description="Absent: the installation's usual one.")


class FileBody(BaseModel):
    """A file, in Base64 or already there."""

    model_config = ConfigDict(extra="forbid")

    file_base64: str | None = Field(None, description="The file's content.", examples=["aWQsbmFtZQoxLEFuYQo="])
    file_filename: Text | None = Field(
        None, max_length=1000, description="Of the content; needed with it.", examples=["customers.csv"]
    )
    file_path: Text | None = Field(None, max_length=1000, description="Of an analysis, in place of the content.")

    def check_file(self) -> None:
        """A JSON body has its file in one of two ways. Raises `Invalid` that names the field."""
        if self.file_base64 is None and not self.file_path:
            wrong = FieldError("file_base64", "is needed, or `file_path`")
        elif self.file_base64 is not None and self.file_path:
            wrong = FieldError("file_path", "can't be sent beside `file_base64`")
        elif self.file_base64 is not None and not self.file_filename:
            wrong = FieldError("file_filename", "is needed with `file_base64`")
        else:
            return
        raise Invalid(f"`{wrong.field}` {wrong.message}.", errors=(wrong,))


class DatasetCreate(FileBody):
    """A new dataset."""

    title: Title = Field(examples=["Customers"])
    type: FileTypeName
    template: TemplateText = Field(examples=["{{.name}} lives in {{.city}}."])
    primary_key_field: Text | None = Field(None, max_length=1000, examples=["id"])
    template_options: TemplateOptionsBody | None = None
    embedder: EmbedderBody | None = None


class AnalyzeBody(FileBody):
    """A file to look at."""


class ReplaceBody(FileBody):
    """Another file for a dataset."""

    type: FileTypeName | None = Field(None, description="The dataset's own unless given.")
    confirm_removals: bool = Field(default=False, description="Removing many records is meant.", examples=[True])


class ProcessBody(BaseModel):
    """How to process."""

    model_config = ConfigDict(extra="forbid")

    confirm_removals: bool = Field(default=False, description="Removing many records is meant.", examples=[True])


class PlanBody(BaseModel):
    """What to plan for; empty: what processing would do now."""

    model_config = ConfigDict(extra="forbid")

    template: TemplateText | None = Field(None, examples=["{{.name}} in {{.city}}"])
    primary_key_field: Text | None = Field(None, max_length=1000)
    template_options: TemplateOptionsBody | None = None
    file_path: Text | None = Field(None, max_length=1000, description="Of an analysis.")


class SearchBody(BaseModel):
    """A question."""

    model_config = ConfigDict(extra="forbid")

    query: Text = Field(min_length=1, max_length=QUERY_CHARS_MAX, examples=["bakeries in Rome"])
    top_k: int = Field(10, ge=1, le=TOP_K_MAX, description="Most hits.")
    dataset_ids: list[DatasetId] | None = Field(None, max_length=DATASET_IDS_MAX, description="Absent: all.")
    filter: dict[str, Any] | None = Field(
        None,
        description="Condition on columns: equal, ranges (`gt`, `gte`, `lt`, `lte`), `in`, `nin`, `ne`, combined by "
        "`and`, `or`, `not`.",
        examples=[{"and": [{"city": "Rome"}, {"price": {"gte": 10, "lt": 20}}]}],
    )
    mode: Mode = Field("hybrid", description="By meaning and words, by one of them only.")


class QueryBody(BaseModel):
    """A SELECT over the records of one dataset."""

    model_config = ConfigDict(extra="forbid")

    dataset_id: DatasetId
    sql: Text = Field(
        min_length=1,
        max_length=32 * 1024,
        description="One SELECT over the table `records`, whose columns are those of the file, and `_key` and `_row`.",
        examples=["SELECT city, count(*) FROM records GROUP BY city ORDER BY 2 DESC"],
    )
    limit: int = Field(100, ge=1, le=1000, description="Most rows.")


@dataclass(frozen=True, slots=True)
class SearchedDataset:
    """A dataset that was searched."""

    dataset_id: int
    version: int


@dataclass(frozen=True, slots=True)
class SearchMeta:
    """How the search went."""

    mode: Mode
    datasets: list[SearchedDataset]
    took_ms: float


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """Records that answer a question, best first."""

    data: list[Hit]
    meta: SearchMeta


@dataclass(frozen=True, slots=True)
class EmbedderInfo:
    """A kind of embedder."""

    kind: str
    title: str
    summary: str
    config_schema: dict[str, Any]


def file_body(model: type[BaseModel]) -> dict[str, Any]:
    """The OpenAPI entry of a body that may be JSON, a form, or the file itself."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    nested = schema.pop("$defs", {})
    for name, item in schema["properties"].items():
        schema["properties"][name] = _without_refs(item, nested)
    plain = {name: {"type": "string"} for name in schema["properties"] if not name.startswith("file_")}
    file = {"type": "string", "format": "binary"}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": schema},
                "multipart/form-data": {
                    "schema": {"type": "object", "required": ["file"], "properties": {"file": file, **plain}}
                },
                "application/octet-stream": {"schema": file},
            },
        }
    }


def _without_refs(value: Any, nested: dict[str, Any]) -> Any:
    """A schema with what it refers to written out."""
    if isinstance(value, dict):
        name = str(value.get("$ref", "")).rsplit("/", 1)[-1]
        if name in nested:
            return _without_refs({**nested[name], **{k: v for k, v in value.items() if k != "$ref"}}, nested)
        return {key: _without_refs(item, nested) for key, item in value.items()}
    return [_without_refs(item, nested) for item in value] if isinstance(value, list) else value
