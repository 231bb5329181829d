"""Study files: what they say of conditions, and what is refused."""

import pytest
import yaml

from wearsynth.studies import WESAD, Part, read_study, study_names

PAIN = {
    "name": "pain",
    "positive": ["cold water"],
    "negative": ["rest", "film"],
    "schedule": "rest 10, cold water 2.5, film 5",
}


def written(tmp_path, **changes):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in (PAIN | changes).items() if value is not None}))
    return path


def test_wesads_is_its_protocol():
    assert WESAD.labels == {"stress": 1, "baseline": 0, "amusement": 0}
    assert WESAD.shares() == (0.726, 0.274)  # 10 of 36.5 minutes (Schmidt et al. 2018)


@pytest.mark.parametrize("name", study_names())
def test_those_that_come_along_are_read_by_name(name):
    study = read_study(name)
    assert {*study.labels.values()} == {*range(len(study.classes))} and sum(study.shares()) == pytest.approx(1)


def test_a_file_of_ones_own(tmp_path):
    study = read_study(written(tmp_path))
    assert study.read_schedule("rest 1, cold water 2") == (Part("rest", 60, 0), Part("cold water", 120, 1))
    assert study.shares()[1] == round(2.5 / 17.5, 3)
    assert study.shares(0.4) == pytest.approx((0.6, 0.4))
    assert type(study)(**study.public_facts) == study  # as it goes through metrics.json


def test_three_classes(tmp_path):
    study = read_study(written(tmp_path, negative=["rest"], third=["film"]))
    assert study.labels == {"rest": 0, "cold water": 1, "film": 2}
    assert study.shares() == pytest.approx((10 / 17.5, 2.5 / 17.5, 5 / 17.5), abs=1e-3)
    assert study.shares(0.4) == pytest.approx((0.4, 0.4, 0.2))  # the others keep two to one
    with pytest.raises(ValueError, match="expected film, too: all classes"):
        study.read_schedule("rest 10, cold water 5")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positve": ["pain"]}, "'positve': did you mean 'positive'"),
        ({"negative": None}, "'negative' is missing"),
        ({"positive": "pain"}, r"positive: 'pain': expected a list of one condition or more"),
        ({"positive": []}, "positive: .*expected a list"),
        ({"negative": ["rest", 3]}, "negative: .*expected a list"),
        ({"negative": ["cold water"]}, "'cold water' stands there twice"),
        ({"schedule": "rest 10"}, "schedule='rest 10': expected cold water, too: all classes"),
        ({"schedule": "rest 10, colds 2"}, "'colds 2': expected a condition, one of rest, film, cold water"),
        ({"schedule": 12}, "schedule: 12: expected text"),
        ({"on_bad_person": "ignore"}, "on_bad_person: 'ignore': expected refuse or leave_out"),
        ({"codes": {"1": "rest"}}, "codes: '1': 'rest': expected a number from 1 to 7"),
        ({"codes": ["rest"]}, "codes: .*expected keys and values"),
        ({"longest_gap": -1}, "longest_gap: -1: expected seconds, from 0 to 60"),
        ({"longest_gap": "5 s"}, "longest_gap: '5 s': expected seconds"),
        ({"off_wrist": {"EDA": 0.03}}, "off_wrist: .*expected numbers, as in {EDA: 0.03, TEMP: 28}"),
        ({"off_wrist": {"EDA": 0.03, "TEMP": None}}, "off_wrist: .*expected numbers"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=rf"study\.yaml: .*{message}"):
        read_study(written(tmp_path, **changes))


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "\0", "!!python/object/apply:os.system [true]"])
def test_what_is_no_study_file_is_refused(tmp_path, text):
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(ValueError, match="study.yaml.*expected"):
        read_study(tmp_path / "study.yaml")


def test_where_there_is_none_the_known_ones_are_named():
    with pytest.raises(
        ValueError, match="study='wesat': cannot be read .*expected stress_predict, wesad, wesad_three, or"
    ):
        read_study("wesat")
