# SPDX-License-Identifier: Apache-2.0
"""Whether a registry takes a user and password: asked at its ``/v2/`` (distribution-spec, "Determining support")."""

from ashore.errors import RegistryError
from ashore.mechanisms.registry import retry, urls
from ashore.mechanisms.registry.credentials import Credential
from ashore.mechanisms.registry.failures import DeniedError
from ashore.mechanisms.registry.policy import TlsPolicy
from ashore.mechanisms.registry.session import Call, Session
from ashore.mechanisms.registry.settings import RegistrySettings
from ashore.mechanisms.registry.transport import Transport
from ashore.nouns.ports import Progress
from ashore.nouns.reference import RegistryPlace


class _Typed:
    """A login that nobody has kept yet (`credentials.Credentials`)."""

    looked_at = "what was typed"

    def __init__(self, user: str, password: str) -> None:
        self._credential = Credential(user=user, password=password, source=self.looked_at)
        self.asked = False

    def find(self, _host: str, _repository: str = "") -> Credential:
        self.asked = True
        return self._credential


def greet(place: RegistryPlace, user: str, password: str, settings: RegistrySettings, progress: Progress) -> bool:
    """Have a registry check a login; False if it asks nobody who he is, so that nothing was checked.

    Raises:
        InputError: registries.conf cannot be used.
        BlockedError: it blocks the registry.
        RegistryError: it does not take it, or there is no registry.
    """
    registries, host = settings.registries(), place.host
    source = registries.itself(place)
    typed, written = _Typed(user, password), {urls.parse(f"https://{host}").host_port: host}
    transport = Transport(settings.config_root, settings.environ, settings.limits, settings.sleep, written)
    session = Session(
        TlsPolicy(source=source, registries=registries),
        transport=transport,
        store=typed,
        limits=settings.limits,
        retries=retry.Retry(
            attempts=settings.limits.retries,
            patience=float("inf"),
            sleep=settings.sleep,
            jitter=settings.jitter,
            say=progress.say,
        ),
        push=False,
    )
    try:
        session.call(Call(method="GET", path="", what=f"log in to {host}", expect=(200,), document=True)).close()
    except DeniedError as error:
        if not session.withheld:
            raise _denied(host, error, asked=typed.asked) from error
    finally:
        transport.close()
    if session.withheld:
        raise _withheld(host, session.withheld)
    return typed.asked


def _withheld(host: str, realm: str) -> RegistryError:
    return DeniedError(
        f"{host} has logins checked by a token server that ashore does not trust with one: {realm}",
        cause="on another host or port, a password is sent over https with a checked certificate only",
        remedy="the registry should name an https URL whose certificate can be checked, and which is not insecure",
    )


def _denied(host: str, error: DeniedError, *, asked: bool) -> RegistryError:
    if asked:
        remedy = "check them; many registries want an access token for the password"
        return DeniedError(f"{host} does not take this user and password", cause=error.cause, remedy=remedy)
    remedy = "of what registries ask, ashore knows Basic and Bearer"
    return DeniedError(f"{host} asks for a login of a kind that ashore does not know", cause=error.cause, remedy=remedy)
