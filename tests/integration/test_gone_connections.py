"""Connections that end, in order or not: they are forgotten whole, and nobody else notices."""

from integration.harness import Application, eventually, unique


async def test_a_closed_connection_is_forgotten_with_all_its_subscriptions(
    application: Application,
) -> None:
    entity_ids = [unique("entity") for _ in range(100)]
    async with application.client() as client:
        await client.subscribe(*entity_ids[:99])
        await client.subscribe(entity_ids[99])
        connection_id = application.connection_id(entity_ids[0])
        # The connection item and the subscriptions.
        assert len(application.rows(connectionId=connection_id)) == 1 + 100

    await eventually(
        lambda: application.rows(connectionId=connection_id) == [],
        "the closed connection has no rows",
    )


async def test_a_client_killed_without_a_close_frame_is_forgotten_and_the_others_are_served_once(
    application: Application,
) -> None:
    entity_id, own_id = unique("entity"), unique("entity")
    async with (
        application.client() as first,
        application.client() as killed,
        application.client() as second,
    ):
        for client in (first, killed, second):
            await client.subscribe(entity_id)
        await killed.subscribe(own_id)
        connection_id = application.connection_id(own_id)
        await killed.kill()
        event_id = application.publish(entity_id)
        await application.settled()

        for client in (first, second):
            assert [frame["id"] for frame in await client.arrived()] == [event_id]
        await eventually(
            lambda: application.rows(connectionId=connection_id) == [],
            "the killed connection has no rows",
        )


async def test_a_gone_connection_whose_disconnect_was_lost_is_forgotten_at_the_next_event(
    application_losing_disconnects: Application,
) -> None:
    application = application_losing_disconnects
    entity_id, own_id = unique("entity"), unique("entity")
    async with application.client() as first, application.client() as second:
        async with application.client() as gone:
            await first.subscribe(entity_id)
            await gone.subscribe(entity_id, own_id)
            await second.subscribe(entity_id)
            connection_id = application.connection_id(own_id)
        # The connection item and two subscriptions.
        assert len(application.rows(connectionId=connection_id)) == 1 + 2
        event_id = application.publish(entity_id)
        await application.settled()

        for client in (first, second):
            assert [frame["id"] for frame in await client.arrived()] == [event_id]
        assert application.rows(connectionId=connection_id) == []
        # Nor are the connections that are there.
        assert len(application.subscribers(entity_id)) == 2


async def test_many_gone_connections_do_not_keep_an_event_from_those_who_are_there(
    application_losing_disconnects: Application,
) -> None:
    application = application_losing_disconnects
    entity_id = unique("entity")
    async with application.client() as there:
        async with application.clients(20) as gone:
            for client in gone:
                await client.subscribe(entity_id)
        await there.subscribe(entity_id)
        event_id = application.publish(entity_id)
        await application.settled()

        assert [frame["id"] for frame in await there.arrived()] == [event_id]
        assert len(application.subscribers(entity_id)) == 1


async def test_a_client_that_reconnects_and_subscribes_again_is_served_once(
    application: Application,
) -> None:
    entity_id = unique("entity")
    async with application.client() as client:
        await client.subscribe(entity_id)
        await client.kill()
    async with application.client() as client:
        await client.subscribe(entity_id)
        event_id = application.publish(entity_id)
        await application.settled()

        assert [frame["id"] for frame in await client.arrived()] == [event_id]
