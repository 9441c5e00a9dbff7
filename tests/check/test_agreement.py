"""Settings that don't go together are refused before anything runs."""

import pytest

from mammo.check.parameters import check_params
from mammo.errors import UserError
from support.params import change


@pytest.mark.parametrize(
    ("key", "value"), [("balancing.class_weights", "balanced"), ("balancing.effective_beta", 0.99)]
)
def test_a_second_remedy_beside_the_sampler_is_refused(values, key, value):
    change(values, key, value)
    check_params(values)  # a sampler that is `auto` gives way
    change(values, "balancing.weighted_sampler", True)
    with pytest.raises(UserError, match="double balancing"):
        check_params(values)


@pytest.mark.parametrize("loss", ["balanced_softmax", "logit_adjusted"])
def test_a_loss_that_adjusts_goes_with_no_sampler_and_no_ordinal_head(values, loss):
    change(values, "loss.name", loss)
    with pytest.raises(
        UserError, match=rf"head\.model: must be multinomial with loss\.name: {loss}"
    ):
        check_params(values)
    change(values, "head.model", "multinomial")
    change(values, "balancing.weighted_sampler", True)
    with pytest.raises(
        UserError, match=r"loss\.name.*sampler has made up.*weighted_sampler: false"
    ):
        check_params(values)


@pytest.mark.parametrize(
    ("key", "value"), [("class_weights", "balanced"), ("effective_beta", 0.99)]
)
def test_an_adjusted_loss_stands_alone_unless_double_is_allowed(values, key, value):
    change(values, "balancing.weighted_sampler", False)
    change(values, "head.model", "multinomial")
    change(values, "loss.name", "logit_adjusted")
    check_params(values)
    change(values, f"balancing.{key}", value)
    with pytest.raises(UserError, match=r"loss\.name.*weights has made up for already"):
        check_params(values)
    change(values, "balancing.allow_double", True)
    check_params(values)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("balancing.class_weights", "balanced"),
        ("balancing.effective_beta", 0.99),
        ("loss.name", "logit_adjusted"),
    ],
)
def test_a_head_re_trained_on_balanced_sampling_goes_with_no_other_remedy(values, key, value):
    change(values, "head.model", "multinomial")
    change(values, "train.retrain_head_epochs", 5)
    check_params(values)  # the sampler in the first training isn't a second remedy
    change(values, "balancing.weighted_sampler", False)
    check_params(values)
    change(values, key, value)
    with pytest.raises(UserError, match=r"train\.retrain_head_epochs: .*there twice"):
        check_params(values)


@pytest.mark.parametrize(
    ("classes", "weights", "said"),
    [
        (
            "a_b_c_d",
            [21.2, 2.3, 1],
            r"must be one weight .* 4 classes .*\(A, B, C, D\), got 3",
        ),
        ("ab_cd", [1, 2, 3, 4], r"must be one weight .* 2 classes .*\(AB, CD\), got 4"),
        ("a_b_c_d", [1, 2, 0, 4], r"balancing\.class_weights\.2: .*greater than 0, got 0"),
    ],
)
def test_given_class_weights_are_one_a_class_and_above_0(values, classes, weights, said):
    change(values, "dataset.classes", classes)
    change(values, "balancing.weighted_sampler", False)
    change(values, "balancing.class_weights", [1.0] * (2 if classes == "ab_cd" else 4))
    check_params(values)
    change(values, "balancing.class_weights", weights)
    with pytest.raises(UserError, match=said):
        check_params(values)


def test_the_ordinal_loss_goes_with_any_remedy(values):
    change(values, "loss.name", "corn")
    with pytest.raises(UserError, match=r"strategies\.probe\.head: must be gradient"):
        check_params(values)
    for strategy in values["strategies"].values():
        strategy["head"] = "gradient"
    check_params(values)
    change(values, "loss.label_smoothing", 0.1)
    with pytest.raises(UserError, match="label_smoothing spreads the target"):
        check_params(values)


def test_images_of_a_size_that_the_architecture_does_not_take_are_refused(values):
    values["backbone"] |= {"arch": "vit_b_16", "weights": "random"}
    values["preprocess"]["size_px"] = 224
    check_params(values)
    values["preprocess"]["size_px"] = 256
    with pytest.raises(
        UserError, match=r"preprocess\.size_px: must be 224 with .*vit_b_16, got 256"
    ):
        check_params(values)


def test_batchnorm_alone_is_not_trained_where_there_is_none(values):
    change(values, "train.batchnorm_only", True)
    check_params(values)
    values["backbone"] |= {"arch": "swin_t", "weights": "random"}
    with pytest.raises(UserError, match=r"train\.batchnorm_only: .*swin_t, which has no BatchNorm"):
        check_params(values)
    head_only = values["strategies"]["head_only"]
    values |= {"strategies": {"head_only": head_only}, "strategy": "head_only"}
    check_params(values)


@pytest.mark.parametrize(
    ("strategy", "features", "idle"),
    [
        ("last_block", "inner", "features8"),
        ("full", "inner", "features8"),
        ("last_two_blocks", ["features2", "features6"], "features7, features8"),
    ],
)
def test_blocks_that_train_behind_all_that_the_head_reads_are_refused(
    values, strategy, features, idle
):
    change(values, f"strategies.{strategy}.features", features)
    said = rf"strategies\.{strategy}\.features: .* no gradient would reach {idle};"
    with pytest.raises(UserError, match=said):
        check_params(values)
    change(values, f"strategies.{strategy}.features", ["features2", "features8"])
    check_params(values)


def test_a_published_split_needs_a_column_of_ones_own_table(values):
    change(values, "split.source", "published")
    with pytest.raises(UserError, match=r"split\.source: .*dataset\.columns\.split names no col"):
        check_params(values)
    change(values, "dataset.columns.split", "fold")
    check_params(values)
    change(values, "dataset.columns.split", None)
    change(values, "dataset.name", "vindr")  # publishes one
    check_params(values)
