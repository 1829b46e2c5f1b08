"""Coordinate systems: known points, and exact inverses everywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.grid.model.points import BD09, CGCS2000, GCJ02, WGS84, Point, from_crs, to_crs

LINHE = Point(40.749759, 107.358366)

places = st.builds(Point, st.floats(18, 54), st.floats(73, 135))


def test_the_shift_at_linhe_is_some_500_metres():
    lat, lon = to_crs(LINHE, GCJ02)
    assert lat - LINHE.lat == pytest.approx(0.00145, abs=0.0001)
    assert lon - LINHE.lon == pytest.approx(0.0056, abs=0.0002)
    assert 400 < LINHE.metres_to(Point(lat, lon)) < 600


def test_bd09_lies_behind_gcj02():
    gcj, bd = to_crs(LINHE, GCJ02), to_crs(LINHE, BD09)
    assert bd[0] - gcj[0] == pytest.approx(0.006, abs=0.001)
    assert bd[1] - gcj[1] == pytest.approx(0.0065, abs=0.001)


@pytest.mark.parametrize("crs", ["", WGS84, CGCS2000])
def test_satellite_systems_are_taken_as_they_are(crs: str):
    assert from_crs(40.75, 107.36, crs) == Point(40.75, 107.36)
    assert to_crs(LINHE, crs) == (LINHE.lat, LINHE.lon)


def test_outside_china_gcj02_is_wgs84():
    assert to_crs(Point(48.85, 2.35), GCJ02) == (48.85, 2.35)


@given(places, st.sampled_from([GCJ02, BD09]))
def test_what_was_shifted_comes_back_to_a_millimetre(place: Point, crs: str):
    back = from_crs(*to_crs(place, crs), crs)
    assert place.metres_to(back) < 0.001


@given(places, st.sampled_from([GCJ02, BD09]))
def test_what_comes_back_is_shifted_to_where_it_was(place: Point, crs: str):
    lat, lon = to_crs(from_crs(place.lat, place.lon, crs), crs)
    assert place.metres_to(Point(lat, lon)) < 0.001


def test_distances():
    assert Point(40, 107).metres_to(Point(41, 107)) == pytest.approx(111_195, rel=0.001)
    assert LINHE.metres_to(LINHE) == 0
