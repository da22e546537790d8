"""Environments of samconfig.toml in one account, side by side, and a domain of one's own."""

from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from integration.harness import DEADLINE_SECONDS, Application, Client, free_port, unique
from local import samconfig, stack
from local.aws import HOST
from local.processes import run_to_end
from operations import change_set

NAMES = ("dev", "staging")
WITH_DOMAIN = "dev"
DOMAIN = "dev.example.com"


@pytest.fixture(scope="module")
def environments(
    built: Path, deployed: Application, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Application]]:
    """Two environments, as samconfig.toml has them, beside the stack of the other tests."""
    aws = deployed.aws
    zone = (
        aws.client("route53")
        .create_hosted_zone(Name="example.com", CallerReference=unique("zone"))["HostedZone"]["Id"]
        .rpartition("/")[2]
    )
    with ExitStack() as gateways:
        applications = {}
        for name in NAMES:
            port, folder = free_port(), tmp_path_factory.mktemp(name)
            outputs = stack.deploy(
                *(aws, stack.Tools(), built, f"{HOST}:{port}"),
                {"DomainName": DOMAIN, "DomainHostedZoneId": zone} if name == WITH_DOMAIN else {},
                environment=name,
            )
            if name == WITH_DOMAIN:
                assert outputs["WebsocketUri"] == f"wss://{DOMAIN}"
                # What it leads to.
                outputs |= {"WebsocketUri": f"ws://{HOST}:{port}/v1"}
            applications[name] = Application(aws, port, outputs, folder)
            gateways.callback(applications[name].stop_gateway)
            applications[name].start_gateway()
        yield applications


async def test_neither_environment_hears_the_other_s_events(
    environments: dict[str, Application], application: Application
) -> None:
    """All three have the same entity subscribed to, and each publishes on its own bus."""
    stacks = {**environments, "default": application}
    entity_id = unique("entity")
    async with AsyncExitStack() as sockets:
        clients = {
            name: await sockets.enter_async_context(each.client()) for name, each in stacks.items()
        }
        for client in clients.values():
            await client.subscribe(entity_id)
        for name, publisher in stacks.items():
            publisher.publish(entity_id, message=name)
        first = {name: (await client.next_frame())["message"] for name, client in clients.items()}
        for each in stacks.values():
            await each.settled()

        assert first == {name: name for name in stacks}
        assert [await client.arrived() for client in clients.values()] == [[], [], []]


def test_environments_share_no_bus_no_table_and_no_queue(
    environments: dict[str, Application], deployed: Application
) -> None:
    buses = [each.outputs["EventBusName"] for each in environments.values()]

    assert buses == ["notifications-dev", "notifications-staging"]
    for output in deployed.outputs.keys() - {"Authentication", "AwsEndpointUrl"}:
        values = [each.outputs[output] for each in (*environments.values(), deployed)]
        assert len(set(values)) == len(values), output


def test_an_environment_s_resources_carry_its_tags(
    environments: dict[str, Application], deployed: Application
) -> None:
    dynamodb = deployed.service("dynamodb")
    for name, each in environments.items():
        table = dynamodb.describe_table(TableName=each.outputs["TableName"])["Table"]
        tags = dynamodb.list_tags_of_resource(ResourceArn=table["TableArn"])["Tags"]

        assert {"Key": "environment", "Value": name} in tags
        assert {"Key": "project", "Value": "websocket-notifications"} in tags


def test_a_domain_leads_to_the_stage_and_a_record_to_the_domain(
    environments: dict[str, Application],
) -> None:
    each = environments[WITH_DOMAIN]
    gateway, route53 = each.service("apigatewayv2"), each.service("route53")
    (mapping,) = gateway.get_api_mappings(DomainName=DOMAIN)["Items"]
    (zone,) = route53.list_hosted_zones()["HostedZones"]
    records = route53.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
    (record,) = (row for row in records if row["Type"] == "A")
    (domain,) = gateway.get_domain_name(DomainName=DOMAIN)["DomainNameConfigurations"]

    assert (mapping["ApiId"], mapping["Stage"]) == (each.outputs["WebSocketApiId"], "v1")
    assert mapping.get("ApiMappingKey", "") == ""
    assert record["Name"].rstrip(".") == DOMAIN
    assert record["AliasTarget"]["DNSName"].rstrip(".") == each.outputs["DomainTarget"]
    assert domain["SecurityPolicy"] == "TLS_1_2"
    assert domain["CertificateArn"].startswith("arn:aws:acm:")


async def test_posts_arrive_though_the_client_came_by_a_domain(
    environments: dict[str, Application],
) -> None:
    """Events then name the domain, which has no @connections."""
    application, entity_id = environments[WITH_DOMAIN], unique("entity")
    address = application.outputs["WebsocketUri"]
    authority = address.removeprefix("ws://").partition("/")[0]
    _, _, port = authority.partition(":")
    async with connect(
        # The name stands in the Host header, as of a handshake with that domain.
        address.replace(authority, DOMAIN),
        host=HOST,
        port=int(port),
        subprotocols=[Subprotocol("websocket")],
        open_timeout=DEADLINE_SECONDS,
    ) as socket:
        client = Client(socket)
        await client.subscribe(entity_id)
        event_id = application.publish(entity_id, message="by any name")

        frame = await client.next_frame()

    assert (frame["id"], frame["message"]) == (event_id, "by any name")


def test_a_change_set_says_what_it_changes_and_changes_it_once_it_is_executed(
    environments: dict[str, Application], deployed: Application, built: Path
) -> None:
    """What `make change-set` and `make execute` do, with a value that differs from the file's."""
    aws = deployed.aws
    cloudformation = aws.client("cloudformation")
    staging = samconfig.read("staging")
    values = {**staging.parameters, **stack.host_parameters(), "DeletionProtection": "true"}

    def make() -> None:
        command = samconfig.deploy_command(
            *(stack.Tools().sam, staging, values, "--template-file"),
            *(stack.adapted_to(aws, built, staging.stack_name), *change_set.UNEXECUTED),
        )
        run_to_end("sam deploy", command, aws.environment(), stack.ROOT)

    def protected() -> object:
        table = environments["staging"].outputs["TableName"]
        return aws.client("dynamodb").describe_table(TableName=table)["Table"][
            "DeletionProtectionEnabled"
        ]

    arn = change_set.made_by(cloudformation, staging.stack_name, make)

    assert arn is not None
    assert protected() is False
    rows = change_set.describe(cloudformation, arn).splitlines()[4:-2]
    assert "| Modify | `ConnectionsTable` | AWS::DynamoDB::Table |" in rows
    # What does not depend on it is not in it.
    assert not any("AWS::SQS::Queue" in row or "LogGroup" in row for row in rows)
    assert change_set.execute(cloudformation, arn) == "UPDATE_COMPLETE"
    assert protected() is True
