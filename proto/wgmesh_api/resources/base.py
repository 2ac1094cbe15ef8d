"""Base of all parts of a custom resource: camelCase names, unknown fields ignored, immutable."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class ResourceModel(BaseModel):
    """A part of a custom resource. Unknown fields, of later versions, are ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, use_enum_values=False
    )


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ResourceModel):
    """One condition of the object, with a reason for programs and a message for people."""

    type: str = Field(description="Type of the condition.", max_length=64)
    status: Literal["True", "False", "Unknown"] = Field(description="The judgement.")
    reason: str = Field(description="Reason, as one word in CamelCase.", max_length=128)
    message: str = Field(default="", description="Explanation, as a sentence.", max_length=2048)
    observed_generation: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Generation of the object that this condition is based on."
    )
    last_transition_time: str = Field(
        description="When `status` last changed.", json_schema_extra={"format": "date-time"}
    )


def deprecated(use: str) -> str:
    """Description of a field that the previous release writes and the next one removes."""
    return f"Deprecated: use `{use}`."


def conditions_field(description: str) -> Any:
    """A list of conditions that several writers may share, one of each type."""
    return Field(
        default_factory=list,
        description=description,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )


def rule(rule: str, message: str | None = None, **more: Any) -> dict[str, Any]:
    """A CEL validation. Its message contains the remedy."""
    return {"rule": rule, **({"message": message} if message else {}), **more}


def validations(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"x-kubernetes-validations": list(rules)}
