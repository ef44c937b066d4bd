"""A node's part in a fleet: its map is sent to the place database, and /diagnostics says how that goes."""
from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus

from segvlad_ros.fleet.courier import Courier, CourierFacts
from segvlad_ros.fleet.milvus import DatabaseAddress, MilvusPlaces
from segvlad_ros.io.extras import import_extra
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.ros.output.diagnostics import fleet_status


class FleetLink:
    """Sends one map after the other.

    :raises SegvladError: pymilvus is not installed
    """

    def __init__(self, address: DatabaseAddress) -> None:
        import_extra('pymilvus')
        self._address = address
        self._courier: Courier | None = None

    @classmethod
    def of(cls, parameters: Any) -> FleetLink | None:
        """The link that a node's parameters ask for, None where ``fleet.uri`` is empty."""
        fields = {name: parameters[f'fleet.{name}'] for name in ('uri', 'site', 'token_file', 'ca_file')}
        return cls(DatabaseAddress(**fields)) if fields['uri'] else None

    def send(self, place_map: PlaceMap) -> None:
        """Send this map from now on; what was not sent of the one before waits in its file. Waits for nothing."""
        if self._courier is not None:
            self._courier.stop()
        self._courier = Courier(place_map, lambda: MilvusPlaces(
            self._address, place_map.fingerprint['digest'], place_map.dimension), self._address.destination)

    def status(self, node: str) -> DiagnosticStatus:
        """How that goes."""
        facts = CourierFacts() if self._courier is None else self._courier.facts()
        return fleet_status(node, uri=self._address.uri, site=self._address.site, **vars(facts))

    def stop(self) -> None:
        """Send no more, and wait a moment for what is on its way."""
        if self._courier is not None:
            self._courier.stop()
            self._courier.join()
