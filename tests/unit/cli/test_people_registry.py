from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from fleet.domain.tags import validate_tag
from fleet.registry import EnrolmentState, Registry, RegistryError, UnknownPersonError


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "people" / "registry.json")


def test_each_enrolment_of_a_person_has_a_tag_of_its_own(registry):
    first, second = registry.enrol("s04"), registry.enrol("s04")
    assert first != second
    assert registry.active_tags("s04") == [validate_tag(first), validate_tag(second)]


def test_registry_is_readable_by_its_owner_only(registry):
    registry.enrol("s04")
    assert stat.S_IMODE(registry.path.stat().st_mode) == 0o600


def test_unknown_person_is_told_with_near_names(registry):
    registry.enrol("shirley")
    with pytest.raises(UnknownPersonError) as caught:
        registry.active_tags("shirly")
    assert "'shirley'" in caught.value.hint


def test_forgotten_enrolments_stay_listed_and_keep_their_first_campaign(registry):
    tag = registry.enrol("s04")
    assert registry.mark_forgotten([tag], "campaign-1") == 1
    registry.mark_forgotten([tag], "campaign-2")
    (enrolment,) = registry.enrolments("s04")
    assert (enrolment.state, enrolment.campaign_id) == (EnrolmentState.FORGOTTEN, "campaign-1")
    assert registry.active_tags("s04") == []


def test_marking_tags_of_somebody_elses_registry_changes_nothing(registry):
    registry.enrol("s04")
    before = registry.path.read_bytes()
    assert registry.mark_forgotten(["ab" * 16], "campaign-1") == 0
    assert registry.path.read_bytes() == before


def test_enrolments_at_the_same_moment_are_all_kept(registry):
    with ThreadPoolExecutor(8) as pool:
        tags = set(pool.map(lambda number: registry.enrol(f"person-{number % 3}"), range(24)))
    listed = {e.tag for enrolments in registry.people().values() for e in enrolments}
    assert listed == tags
    assert len(tags) == 24


def test_person_of_finds_whose_tag_it_is(registry):
    tag = registry.enrol("s04")
    assert registry.person_of(tag) == "s04"
    assert registry.person_of("ab" * 16) is None


def test_person_without_a_name_is_refused(registry):
    with pytest.raises(RegistryError):
        registry.enrol("  ")
    assert not registry.path.exists()


@pytest.mark.parametrize(
    "content", ["{", "[]", json.dumps({"api_version": "other"}), json.dumps({"api_version": "reram-fleet/registry/v1"})]
)
def test_damaged_registry_is_an_error_and_is_not_overwritten(registry, content):
    registry.path.parent.mkdir()
    registry.path.write_text(content)
    with pytest.raises(RegistryError, match=r"registry\.json"):
        registry.enrol("s04")
    assert registry.path.read_text() == content
