"""Queries a demo server with TLS and tokens (arguments: host:port, a token, the file of its CA) with ADBC and with
plain pyarrow.flight; prints the number of passed checks."""

import sys

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi as dbapi
import adbc_driver_manager
import pyarrow.flight as flight

from checks import check, run

address, token, ca = sys.argv[1:]
authority = open(ca).read()
OPTIONS = adbc_driver_flightsql.DatabaseOptions


def count(**credentials):
    options = {OPTIONS.TLS_ROOT_CERTS.value: authority, **credentials}
    with (
        dbapi.connect(f"grpc+tls://{address}", db_kwargs=options, autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT count(*) FROM groups")
        return cursor.fetchone()[0]


def refused(**credentials):
    try:
        count(**credentials)
    except adbc_driver_manager.Error as error:
        assert error.status_code == adbc_driver_manager.AdbcStatusCode.UNAUTHENTICATED, error
        assert "token" in str(error), error
        return
    raise AssertionError("no error")


@check
def adbc_gives_the_token_as_password_of_any_user():
    assert count(username="any-user", password=token) > 5


@check
def adbc_gives_the_token_as_a_header():
    assert count(**{OPTIONS.AUTHORIZATION_HEADER.value: f"Bearer {token}"}) > 5


@check
def adbc_is_told_that_a_token_is_needed_or_wrong():
    refused()
    refused(username="any-user", password="not-" + token)
    refused(**{OPTIONS.AUTHORIZATION_HEADER.value: "Bearer not-" + token})


@check
def flight_exchanges_user_and_password_for_the_token():
    client = flight.connect(f"grpc+tls://{address}", tls_root_certs=authority)
    name, value = client.authenticate_basic_token("any-user", token)
    assert (name, value) == (b"authorization", f"Bearer {token}".encode()), name
    list(client.list_actions(flight.FlightCallOptions(headers=[(name, value)])))
    for attempt in (lambda: client.authenticate_basic_token("any-user", "not-" + token), lambda: list(client.list_actions())):
        try:
            attempt()
        except flight.FlightUnauthenticatedError:
            continue
        raise AssertionError("no error")


run()
