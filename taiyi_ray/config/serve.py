"""The settings of the service."""

from __future__ import annotations

import ipaddress
import re
from typing import Self

from pydantic import Field, field_validator, model_validator

from taiyi_ray.config.asking import EngineSettings
from taiyi_ray.config.choices import CLIENTS

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class ServeConfig(EngineSettings):
    """The settings of `taiyi-ray serve`."""

    name: str = Field("taiyi", pattern=_NAME, description="name that clients give the model")
    adapters: dict[str, str] = Field(
        {},
        description="LoRA folders by name; clients call the model NAME:ADAPTER. An adapter is "
        "loaded when it is first asked for",
    )
    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="address to listen on; one that other machines can reach needs "
        "--api-keys-file or --without-keys",
    )
    port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    api_keys_file: str | None = Field(
        None,
        description="YAML file of hashed keys, which --new-key writes; only requests with one of "
        "these keys are answered",
    )
    without_keys: bool = Field(False, description="answer everybody who can reach the address")
    batches: str | None = Field(
        None,
        description="folder or s3:// address for files and batches, which all nodes must be able "
        "to reach; the default is in the user's data folder",
    )
    max_documents: int = Field(64, ge=1, description="most documents of a request")
    max_megabytes: int = Field(
        8, ge=1, description="most megabytes of a request; files of batches may be larger"
    )
    max_characters: int = Field(
        32_000_000,
        ge=1,
        description="most characters of all prompts of a request together: about the length of "
        "its text times the number of questions",
    )
    document_slots: int | None = Field(
        None,
        ge=1,
        description="documents and chats that an engine works on at once; a request that finds too "
        "few free slots is refused (503); the default is what the engine takes",
    )
    time_limit: float = Field(
        300, gt=0, description="seconds after which the work on a request ends"
    )

    @property
    def models(self) -> list[str]:
        """The model names for clients: the base model, and the base model with each adapter."""
        return [self.name, *(f"{self.name}:{adapter}" for adapter in self.adapters)]

    @property
    def hosts(self) -> list[str] | None:
        """The host names that requests may carry; None when any is allowed.

        A service without keys on this machine checks them, so that a page of another site cannot
        use it through the user's browser. Where keys are needed, such a page has none.
        """
        if self.api_keys_file or not is_loopback(self.host):
            return None
        return ["127.0.0.1", "::1", "localhost", self.host]

    @field_validator("engine", mode="after")
    @classmethod
    def _own_engine(cls, engine: str) -> str:
        if engine in CLIENTS:
            raise ValueError("the service runs the model itself; ask that server directly")
        return engine

    @field_validator("adapter", mode="after")
    @classmethod
    def _adapters_instead(cls, adapter: str | None) -> str | None:
        if adapter is not None:
            raise ValueError("the service loads adapters beside the model; name each in adapters")
        return adapter

    @field_validator("adapters", mode="after")
    @classmethod
    def _adapter_names(cls, adapters: dict[str, str]) -> dict[str, str]:
        if wrong := [name for name in adapters if not re.fullmatch(_NAME, name)]:
            raise ValueError(f"{wrong[0]!r} is not a name of letters, digits and . _ -")
        return adapters

    @model_validator(mode="after")
    def _locked(self) -> Self:
        if not (self.api_keys_file or self.without_keys or is_loopback(self.host)):
            raise ValueError(
                f"--host {self.host}: other machines can reach it; give --api-keys-file, or "
                "--without-keys if everybody there may use the service"
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can connect to this host."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    # A socket that serves both versions of IP shows an IPv4 address as a mapped IPv6 address.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
