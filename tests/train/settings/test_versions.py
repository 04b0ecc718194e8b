"""The table of versions: every setting is in it, and older runs are read by it."""

import copy
import dataclasses
import typing

import pytest

from train.errors import ConfigError
from train.settings import VERSION, NetworkConfig, added
from train.settings.versions import OLDEST, additions
from train.store.settings_json import from_json, to_json, upgraded
from train.tasks import TASKS, RasterSettings, find_task

# The fields that each dataclass of settings had in the version that brought it, or in the oldest
# one that is read. It never changes: runs of that version are stored with exactly these.
FIRST: dict[str, tuple[int, str]] = {
    "RandmanConfig": (2, "data network training"),
    "RandmanRegressionConfig": (2, "data network training"),
    "RandmanData": (
        2,
        "classes units dim alpha variant steps dt step_frac samples_per_class data_seed",
    ),
    "NetworkConfig": (
        2,
        "hidden recurrent readout population init init_spread neuron tau_mem tau_syn learn_tau"
        " input_gain layer_gain recurrent_gain readout_gain surrogate_slope count_scale"
        " membrane_scale",
    ),
    "TrainingConfig": (
        2,
        "epochs batch_size optimizer learning_rate schedule warm_up weight_decay momentum clip_norm"
        " label_smoothing jitter lower_rate upper_rate rate_strength patience seed",
    ),
    "YinYangConfig": (2, "data network loss training"),
    "YinYangData": (2, "train_samples test_samples data_seed"),
    "YinYangNetwork": (
        2,
        "method hidden delays tau_mem tau_syn threshold window bias duration input_mean input_std"
        " layer_mean layer_std readout_mean readout_std budget max_spikes slope_floor dt"
        " surrogate_slope",
    ),
    "SpikeTimeLoss": (
        2,
        "loss loss_tau late_penalty late_tau target_early target_late continuation_slope max_scale",
    ),
    "CrossbarConfig": (
        3,
        "crossbar crossbar_layers crossbar_scaling crossbar_noise crossbar_time weight_clip",
    ),
    "RasterSettings": (4, "network training crossbar"),
    "SpikesConfig": (4, "data network training crossbar"),
    "SpikesData": (
        4,
        "file dt steps units pool late lengths outputs predict validation test data_seed capacity"
        " analog variance input_rate digest",
    ),
    "AugmentationConfig": (
        4,
        "time_shift stretch channel_shift band_drop slot_drop",
    ),
    "DigitsData": (
        4,
        "channels dt steps frame level floor reference validation leave_out digest",
    ),
    "FashionConfig": (
        4,
        "data network training crossbar",
    ),
    "FashionData": (
        4,
        "encoding steps dt latency_tau latency_threshold pixel_shift flip digest",
    ),
    "FashionNetwork": (
        4,
        "hidden recurrent readout population init init_spread neuron tau_mem tau_syn "
        "learn_tau input_gain layer_gain recurrent_gain readout_gain surrogate_slope "
        "count_scale membrane_scale loss architecture channels tau_readout dropout",
    ),
    "RecordedNetwork": (
        4,
        "hidden recurrent readout population init init_spread neuron tau_mem tau_syn "
        "learn_tau input_gain layer_gain recurrent_gain readout_gain surrogate_slope "
        "count_scale membrane_scale loss tau_adapt tau_readout max_delay dropout",
    ),
    "SHDConfig": (
        4,
        "data network augmentation training crossbar",
    ),
    "SHDData": (
        4,
        "dt steps pool validation data_seed digest",
    ),
    "SpokenDigitsConfig": (
        4,
        "data network augmentation training crossbar",
    ),
}


def dataclasses_of(settings: type) -> set[type]:
    """A dataclass of settings, and all that it holds."""
    found = {settings}
    for kind in typing.get_type_hints(settings).values():
        if dataclasses.is_dataclass(kind):
            found |= dataclasses_of(kind)
    return found


def all_dataclasses() -> list[type]:
    roots = [find_task(name).settings for name in TASKS] + [RasterSettings]
    found = set().union(*map(dataclasses_of, roots))
    return sorted(found, key=lambda kind: kind.__name__)


def left_out(kind: type) -> list[str]:
    """What is wrong with the versions of the fields of a dataclass, with what to do."""
    name = kind.__name__
    if name not in FIRST:
        fields = " ".join(field.name for field in dataclasses.fields(kind))
        return [
            f'{name} is new: add the row "{name}": ({VERSION}, "{fields}") to FIRST of'
            " tests/train/settings/test_versions.py"
        ]
    version, names = FIRST[name]
    first, table = set(names.split()), {field: v for v, field, _ in additions(kind)}
    wrong = []
    for field in dataclasses.fields(kind):
        if field.name not in first and field.name not in table:
            wrong.append(
                f"{name}.{field.name}: stored runs do not have it, and could not be read any more;"
                f" write `{field.name}: ... = added({VERSION}, default)`, or {VERSION + 1} and"
                " raise VERSION in train/settings/versions.py if that one is released"
            )
        # One that is inherited may have come with the class.
        elif (
            field.name in table
            and not version + (field.name not in first) <= table[field.name] <= VERSION
        ):
            wrong.append(
                f"{name}.{field.name}: expected a version from {version + 1} to {VERSION}, got"
                f" {table[field.name]}"
            )
    gone = first - {field.name for field in dataclasses.fields(kind)}
    wrong += [f"{name}.{field}: stored runs have it, keep it" for field in sorted(gone)]
    return wrong


@pytest.mark.parametrize("kind", all_dataclasses(), ids=lambda kind: kind.__name__)
def test_every_setting_is_in_the_table_or_was_there_from_the_beginning(kind):
    assert not left_out(kind), "\n".join(left_out(kind))


def test_a_setting_without_a_version_is_found_and_the_remedy_named():
    fields = [("wings", int, 2), ("late", int, added(VERSION + 1, 3))]
    kind = dataclasses.make_dataclass("NetworkConfig", fields, bases=(NetworkConfig,), frozen=True)
    wings, late = left_out(kind)
    assert wings.startswith("NetworkConfig.wings: stored runs do not have it")
    assert f"`wings: ... = added({VERSION}, default)`" in wings
    assert late == f"NetworkConfig.late: expected a version from 3 to {VERSION}, got {VERSION + 1}"
    (new,) = left_out(dataclasses.make_dataclass("Wings", [("span", float, 1.0)]))
    assert f'add the row "Wings": ({VERSION}, "span") to FIRST' in new


@pytest.mark.parametrize("name", ["randman", "randman_regression", "yin_yang"])
@pytest.mark.parametrize("version", range(OLDEST, VERSION + 1))
def test_settings_of_every_version_are_read(name, version):
    """Cut down to what that version had, they come back as the defaults are now."""
    settings = find_task(name).settings
    stored = copy.deepcopy(to_json(name, settings())) | {"version": version}
    for later, path, _ in additions(settings):
        if later > version:
            *parents, last = path.split(".")
            place = stored["config"]
            for part in parents:
                # Where the whole of it came later, it is gone already.
                place = place.get(part, {})
            place.pop(last, None)
    cut = stored != to_json(name, settings()) | {"version": version}
    assert cut == (version < max(later for later, *_ in additions(settings)))
    assert from_json(settings, stored) == settings()
    assert upgraded(settings, stored) == to_json(name, settings())


@dataclasses.dataclass(frozen=True)
class Inner:
    """Settings that a later version brought."""

    size: int = 5
    shape: tuple[int, ...] = added(4, (1, 2))


@dataclasses.dataclass(frozen=True)
class Grown:
    """Settings of three versions."""

    width: int = 1
    depth: int = added(3, 128, before=64)
    inner: Inner = added(3, Inner(), before=Inner(size=7))
    name: str = added(4, "new")


@pytest.mark.parametrize(
    ("version", "config", "expected"),
    [
        (2, {"width": 9}, Grown(9, 64, Inner(7), "new")),
        (3, {"width": 9, "depth": 1, "inner": {"size": 2}}, Grown(9, 1, Inner(2), "new")),
        (
            4,
            {"width": 9, "depth": 1, "inner": {"size": 2, "shape": [3]}, "name": "old"},
            Grown(9, 1, Inner(2, (3,)), "old"),
        ),
    ],
)
def test_a_field_that_came_later_has_the_value_that_runs_had_before(version, config, expected):
    stored = {"version": version, "task": "grown", "config": config}
    assert from_json(Grown, stored) == expected


@pytest.mark.parametrize(
    ("version", "config", "words"),
    [
        (3, {"width": 9}, r"config: missing fields \['depth', 'inner'\]"),
        (2, {"depth": 9}, r"config: missing fields \['width'\]"),
        (2, {"width": 9, "wings": 2}, r"config: unknown fields \['wings'\]"),
        (1, {"width": 9}, f"expected settings of version 2 to {VERSION}, got version 1"),
        (VERSION + 1, {"width": 9}, "use the release of flax_snn that wrote them"),
        (True, {"width": 9}, "version: expected a whole number >= 0, got True"),
        ("4", {"width": 9}, "version: expected a whole number >= 0, got '4'"),
    ],
)
def test_what_no_version_wrote_is_refused(version, config, words):
    with pytest.raises(ConfigError, match=words):
        from_json(Grown, {"version": version, "task": "grown", "config": config})


def test_the_table_names_nested_fields_by_their_path():
    assert list(additions(Grown)) == [
        (3, "depth", 64),
        (3, "inner", Inner(size=7)),
        (4, "inner.shape", (1, 2)),
        (4, "name", "new"),
    ]
