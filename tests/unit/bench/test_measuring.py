"""Measuring what results say: sections are kept under the code that gave them, and files written whole."""

import json

import pytest

from tests.bench import claims, measuring
from tests.bench.figure import Figure, Target
from tests.bench.measuring import KeptSections, SectionFailedError, code_digest, measure

FIGURES = {
    "faces": [Figure("accuracy", (0.97, 0.99), "share", Target(">=", 0.96), of_mean=True)],
    "voices": [Figure("joules", (2.0,), "J")],
    "images": [Figure("seeds below .96", (1.0,), "1", Target("=", 0))],
}


def test_figures_come_back_as_they_were_kept(tmp_path):
    kept = KeptSections(tmp_path)
    for name, figures in FIGURES.items():
        kept.keep(f"{name} of people", figures)

    assert {name: kept.figures(f"{name} of people") for name in FIGURES} == FIGURES
    assert kept.figures("never measured") is None


def test_digest_is_of_every_source_file_committed_or_not(tmp_path):
    (tmp_path / "fleet").mkdir()
    (tmp_path / "fleet/cli.py").write_text("print(1)\n")
    digests = [code_digest(tmp_path)]
    (tmp_path / "results").mkdir()
    (tmp_path / "results/learning.json").write_text("[]")
    digests.append(code_digest(tmp_path))
    (tmp_path / "fleet/new.py").write_text("")
    digests.append(code_digest(tmp_path))
    (tmp_path / "fleet/cli.py").write_text("print(2)\n")
    digests.append(code_digest(tmp_path))

    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


@pytest.fixture
def area(tmp_path, monkeypatch):
    """Three sections whose measuring is counted; those in `broken` fail."""
    counts, broken = {}, set()
    kept = KeptSections(tmp_path / "kept")

    def measured(area, section, into):
        counts[section] = counts.get(section, 0) + 1
        if section in broken:
            raise SectionFailedError(f"section {section!r} fell over")
        into.keep(section, FIGURES[section])
        return 90.0

    monkeypatch.setattr(claims, "sections", lambda area: FIGURES)
    monkeypatch.setattr(claims, "measure", measured)
    monkeypatch.setattr(claims.KeptSections, "of", lambda area: kept)
    monkeypatch.setattr(claims, "RESULTS", tmp_path / "results")
    return counts, broken, tmp_path / "results/learning.json"


def test_a_run_goes_on_where_another_stopped_and_then_writes_everything(area, capsys):
    counts, broken, results = area
    broken.add("voices")

    assert claims.main(["learning"]) == 1
    assert not results.exists()
    assert "'voices' fell over" in capsys.readouterr().err
    broken.clear()
    assert claims.main(["learning"]) == 1

    assert counts == {"faces": 1, "voices": 2, "images": 1}
    entries = json.loads(results.read_text())
    assert [entry["name"] for entry in entries] == ["accuracy", "joules", "seeds below .96"]
    assert [entry["holds"] for entry in entries] == [True, None, False]
    assert entries[1]["command"] == "make claims AREA=learning SECTION=voices"


def test_a_named_section_is_measured_again_and_alone(area, capsys):
    counts, _, results = area
    claims.main(["learning", "--section", "faces"])

    assert claims.main(["learning", "--section", "faces"]) == 0

    assert counts == {"faces": 2}
    assert not results.exists()
    assert "voices, images" in capsys.readouterr().err


def test_a_whole_file_stays_when_a_section_of_new_code_is_measured(area, monkeypatch, tmp_path):
    _, _, results = area
    claims.main(["learning"])
    before = results.read_text()
    monkeypatch.setattr(claims.KeptSections, "of", lambda area: KeptSections(tmp_path / "new code"))

    claims.main(["learning", "--section", "voices"])

    assert results.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "said"), [(["learnign"], "no area 'learnign'"), (["--section", "faces"], "name the area")]
)
def test_wrong_names_are_refused_with_what_to_say_instead(arguments, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        claims.main(arguments)

    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_an_unknown_section_is_answered_with_the_known_ones(area, capsys):
    assert claims.main(["learning", "--section", "vocies"]) == 2
    assert "faces, voices, images" in capsys.readouterr().err


def test_a_section_runs_in_a_process_of_its_own_and_keeps_its_figures(tmp_path):
    kept = KeptSections(tmp_path / code_digest() / "chip")

    assert measure("chip", "networks", kept) > 0

    figures = kept.figures("networks")
    assert figures
    assert all(figure.values for figure in figures)


def test_figures_of_code_that_changed_meanwhile_are_not_kept(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measuring, "sections", lambda area: {"faces": lambda: iter(FIGURES["faces"])})
    here, elsewhere = (KeptSections(tmp_path / digest / "learning") for digest in (code_digest(), "0123456789abcdef"))

    assert measuring.main(["learning", "faces", str(here.folder)]) == 0
    assert measuring.main(["learning", "faces", str(elsewhere.folder)]) == 1

    assert here.figures("faces") == FIGURES["faces"]
    assert elsewhere.figures("faces") is None
    assert "measure it again" in capsys.readouterr().err


def test_a_process_that_fails_is_told_by_its_section(tmp_path):
    with pytest.raises(SectionFailedError, match="'networsk' of chip ended with exit code 1"):
        measure("chip", "networsk", KeptSections(tmp_path))


@pytest.mark.parametrize("area_name", claims.AREAS)
def test_every_area_has_sections_that_become_files_of_their_own(area_name, tmp_path):
    kept = KeptSections(tmp_path)
    names = list(measuring.sections(area_name))
    for name in names:
        kept.keep(name, [Figure(name, (1.0,), "1")])

    assert names
    assert all(kept.figures(name) == [Figure(name, (1.0,), "1")] for name in names)
