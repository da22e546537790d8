"""The local AWS: its address, and an environment in which no tool finds any other."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

HOST = "127.0.0.1"
REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class LocalAws:
    """The emulator on a port of this machine."""

    port: int

    @classmethod
    def of_outputs(cls, outputs: Mapping[str, str]) -> Self:
        """Return where the stack is that has these outputs."""
        return cls(urlsplit(outputs["AwsEndpointUrl"]).port or 80)

    @property
    def endpoint_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def environment(self) -> dict[str, str]:
        """Return this process's environment with AWS pointing at the emulator and nowhere else.

        Profiles, credentials and endpoints of the user are left out, so that no command of the
        local run can reach a real account.
        """
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("AWS_") or name == "AWS_CA_BUNDLE"
        }
        return inherited | {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
            "NO_PROXY": f"{HOST},localhost",
            "SAM_CLI_TELEMETRY": "0",
            # Seconds between looks at the state of a deployment.
            "SAM_CLI_POLL_DELAY": "0.5",
            # Build once for all functions, which share their code, instead of a copy for each.
            "SAM_CLI_BETA_BUILD_PERFORMANCE": "1",
        }

    def client(self, service: str, config: Config | None = None) -> Any:
        """Return a boto3 client of the emulator."""
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.endpoint_url,
            region_name=REGION,
            config=config,
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - the emulator takes any
        )
