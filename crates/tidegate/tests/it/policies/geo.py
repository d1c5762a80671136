"""Writes files in MaxMind's format with what the tests ask of: places.mmdb, systems.mmdb, v4.mmdb."""

import sys

from mmdb_writer import MMDBWriter
from netaddr import IPSet

folder, variant = sys.argv[1], sys.argv[2]


def place(country, continent, region=None, city=None, registered=None):
    record = {"continent": {"code": continent, "names": {"en": "x"}}}
    if country:
        record["country"] = {"iso_code": country, "names": {"en": country}}
    if registered:
        record["registered_country"] = {"iso_code": registered}
    if region:
        record["subdivisions"] = [{"iso_code": region, "names": {"en": region}}]
    if city:
        record["city"] = {"names": {"en": city, "de": "anders"}}
    return record


places = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="GeoLite2-City", description="test")
german = "DE" if variant == "first" else "CH"
places.insert_network(IPSet(["192.0.2.0/24"]), place(german, "EU", "BY", "München"))
places.insert_network(IPSet(["198.51.100.0/24"]), place("US", "NA", "CA", "San José"))
places.insert_network(IPSet(["203.0.113.0/24"]), place(None, "OC", registered="AU"))
places.insert_network(IPSet(["2001:db8:1::/48"]), place("FR", "EU"))
places.insert_network(IPSet(["2001:db8:2::/48"]), place("BR", "SA"))
places.to_db_file(f"{folder}/places.mmdb")

systems = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="GeoLite2-ASN", description="test")
for network, number, name in [
    ("192.0.2.0/25", 64500, "Gute Netze"),
    ("192.0.2.128/25", 64501, "Schlechte Netze"),
    ("2001:db8:1::/48", 64502, "Réseau"),
    ("2001:db8:9::/48", 64503, "Nirgends"),
]:
    record = {"autonomous_system_number": number, "autonomous_system_organization": name}
    systems.insert_network(IPSet([network]), record)
systems.to_db_file(f"{folder}/systems.mmdb")

v4 = MMDBWriter(ip_version=4, database_type="DBIP-Country-Lite", description="test")
v4.insert_network(IPSet(["192.0.2.0/24"]), place("DE", "EU"))
v4.to_db_file(f"{folder}/v4.mmdb")

# Of kinds that tell nothing of places or systems, and records that are not what they should be.
other = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="GeoIP2-Connection-Type", description="test")
other.insert_network(IPSet(["192.0.2.0/24"]), {"connection_type": "Cable/DSL"})
other.to_db_file(f"{folder}/other.mmdb")

flat = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="flat country_asn", description="test")
flat.insert_network(IPSet(["192.0.2.0/24"]), {"country": "DE", "asn": "AS64500"})
flat.to_db_file(f"{folder}/flat.mmdb")

odd = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="GeoLite2-City", description="test")
odd.insert_network(IPSet(["192.0.2.0/24"]), place("DE", "EU"))
record = place("DE", "EU")
record["subdivisions"], record["city"] = "BY", {"names": ["M"]}
odd.insert_network(IPSet(["198.51.100.0/24"]), record)
odd.insert_network(IPSet(["203.0.113.0/24"]), {"country": "DE"})
odd.to_db_file(f"{folder}/odd.mmdb")
