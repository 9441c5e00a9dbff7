"""Solved heads against libraries, finite differences and what has to hold of a path."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from statsmodels.miscmodels.ordinal_model import OrderedModel

from mammo.errors import UserError
from mammo.heads.balance import frequency_weights
from mammo.heads.basis import emphasise, find_basis, standard_scale
from mammo.heads.multinomial import MultinomialLikelihood, Objective
from mammo.heads.ordinal import OrdinalLikelihood, fit_thresholds, log_probabilities
from mammo.heads.params import HeadParams
from mammo.heads.path import Table, assign_folds, solve_path
from mammo.heads.solver import _scipys_blas


def head(**changed):
    values = dict(
        model="ordinal", kernel="none", rbf={"features": 64, "scale": 1.0}, seed=0, select="val",
        criterion="log_loss", thresholds="joint", folds=3, refit=False, width_power=0.5,
        penalties={"strongest": 1.0, "weakest": 1e-4, "steps": 5},
    )  # fmt: skip
    return HeadParams.model_validate({**values, **changed})


def table(n=150, width=6, views=1, classes=4, seed=0):
    """Features of which the first tells the class, with noise and odd scales."""
    random = np.random.default_rng(seed)
    score = random.logistic(size=n)
    latent = random.normal(size=(n, views, width))
    latent[:, :, 0] += score[:, None]
    features = latent * np.linspace(0.1, 30, width) + np.linspace(-5, 5, width)
    noisy = score + random.normal(scale=0.5, size=n)
    labels = np.searchsorted(np.quantile(noisy, np.linspace(0, 1, classes + 1)[1:-1]), noisy)
    return Table(features, labels, np.ones(n), np.arange(n) // 2)


def finite_differences(function, x, step=1e-6):
    gradient = np.empty(x.shape)
    for position in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[position] += step
        down[position] -= step
        gradient[position] = (function(up) - function(down)) / (2 * step)
    return gradient


def last_head(data, **changed):
    return solve_path(data, 4, head(**changed)).steps[-1].head


def test_an_ordinal_head_is_that_of_statsmodels_as_the_penalty_goes_to_0():
    data = table()
    rows = data.features[:, 0]
    penalties = {"strongest": 1.0, "weakest": 1e-10, "steps": 6}
    ours = last_head(data, penalties=penalties)
    model = OrderedModel(data.labels, (rows - rows.mean(0)) / rows.std(0), distr="logit")
    theirs = model.fit(method="bfgs", disp=False, maxiter=1000, gtol=1e-9)
    assert np.exp(ours.logits(rows)) == pytest.approx(theirs.predict(), abs=1e-5)


@pytest.mark.parametrize("width_power", [0, 0.5, 1])
@pytest.mark.parametrize("balance", [0, 0.5])
def test_a_multinomial_head_is_that_of_scikit_learn(balance, width_power):
    data = table()
    weights = frequency_weights(np.bincount(data.labels), balance)[data.labels]
    data = replace(data, weights=weights * (1 + data.labels), widths=(1, 2, 3))
    weights = data.weights / data.weights.sum()
    rows = data.features[:, 0]
    mean = weights @ rows
    variances = np.array([1, 2, 2, 3, 3, 3]) ** -float(width_power)
    scaled = (rows - mean) / np.sqrt(weights @ (rows - mean) ** 2)
    scaled *= np.sqrt(variances / variances.sum())
    ours = last_head(data, model="multinomial", width_power=width_power)
    # C multiplies the sum of losses; ours is a mean with penalty 1e-4
    theirs = LogisticRegression(C=1e4, tol=1e-10, max_iter=10_000)
    theirs.fit(scaled, data.labels, weights)
    assert softmax(ours.logits(rows), axis=1) == pytest.approx(
        theirs.predict_proba(scaled), abs=2e-5
    )


@pytest.mark.parametrize(
    "objective",
    [
        Objective(np.zeros(3)),
        Objective(np.log([0.5, 0.3, 0.2])),
        Objective(np.zeros(3), label_smoothing=0.2),
        Objective(np.zeros(3), gamma=2.0),
        Objective(np.zeros(3), gamma=0.5),
    ],
    ids=["plain", "adjusted", "smoothed", "focal", "mild focal"],
)
def test_multinomial_gradients_are_those_of_finite_differences(objective):
    random = np.random.default_rng(0)
    weights = random.dirichlet(np.ones(12))
    likelihood = MultinomialLikelihood(np.arange(12) % 3, weights, objective)
    scores, biases = random.normal(size=(12, 3)), random.normal(size=3)
    _, by_score, by_bias = likelihood.value(scores, biases)
    assert by_score == pytest.approx(
        finite_differences(lambda s: likelihood.value(s, biases)[0], scores), abs=1e-8
    )
    assert by_bias == pytest.approx(
        finite_differences(lambda b: likelihood.value(scores, b)[0], biases), abs=1e-8
    )


def test_ordinal_gradients_are_those_of_finite_differences():
    random = np.random.default_rng(0)
    likelihood = OrdinalLikelihood(np.arange(12) % 4, random.dirichlet(np.ones(12)))
    scores, free = random.normal(size=(12, 1)), np.array([-1.0, 0.3, -0.4])
    _, by_score, by_free = likelihood.value(scores, free)
    assert by_score == pytest.approx(
        finite_differences(lambda s: likelihood.value(s, free)[0], scores), abs=1e-8
    )
    assert by_free == pytest.approx(
        finite_differences(lambda f: likelihood.value(scores, f)[0], free), abs=1e-8
    )


@pytest.mark.parametrize(
    ("likelihood", "free"),
    [
        (OrdinalLikelihood(np.arange(12) % 4, np.arange(1, 13) / 78), [-1.0, 0.3, -0.4]),
        (
            MultinomialLikelihood(
                np.arange(12) % 3, np.arange(1, 13) / 78, Objective(np.log([0.5, 0.3, 0.2]))
            ),
            [0.2, -0.1, 0.4],
        ),
    ],
    ids=["ordinal", "multinomial"],
)
def test_curvature_is_that_of_finite_differences(likelihood, free):
    scores = np.random.default_rng(0).normal(size=(12, likelihood.columns))
    curvature = likelihood.curvature(scores, np.array(free))
    assert curvature.shape == (12, likelihood.columns, likelihood.columns)
    for row, column in np.ndindex(*scores.shape):
        slopes = finite_differences(
            lambda s, i=row, j=column: likelihood.value(s, np.array(free))[1][i, j], scores
        )
        assert curvature[row, column] == pytest.approx(slopes[row], abs=1e-7)


def test_log_probabilities_stay_exact_far_from_the_thresholds():
    far = log_probabilities(np.array([800.0, -800.0]), np.array([0.0, 1.0, 1.0 + 1e-9]))
    assert np.isfinite(far).all()
    assert np.exp(far).sum(axis=1) == pytest.approx([1, 1])
    # P(class 0) at score 800 is sigmoid(-800), whose logarithm is -800
    assert far[0, 0] == pytest.approx(-800)


def test_smoothing_doesnt_pull_common_classes_to_a_rare_one_that_weighs_more():
    counts = np.array([400, 10, 40])
    labels = np.repeat(np.arange(3), counts)
    data = Table(
        np.random.default_rng(0).normal(size=(450, 1, 2)), labels,
        frequency_weights(counts, 1.0)[labels], np.arange(450),
    )  # fmt: skip
    smoothed = solve_path(data, 3, head(model="multinomial"), Objective(np.zeros(3), 0.3)).steps[0]
    shares = np.exp(smoothed.head.log_probabilities(data.features[:, 0])).mean(axis=0)
    assert shares == pytest.approx([1 / 3] * 3, abs=0.02)  # power 1 makes the classes equal


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_focal_loss_at_gamma_0_is_cross_entropy_and_above_it_is_no_worse_by_its_own_measure(gamma):
    data = table()
    plain = last_head(data, model="multinomial")
    path = solve_path(data, 4, head(model="multinomial"), Objective(np.zeros(4), gamma=gamma))
    rows = np.arange(len(data.labels))

    def focal(fitted):
        log_p = fitted.log_probabilities(data.features[:, 0])[rows, data.labels]
        return np.mean(-((1 - np.exp(log_p)) ** gamma) * log_p)

    if gamma == 0:
        assert focal(path.steps[-1].head) == pytest.approx(focal(plain), abs=1e-9)
    else:
        assert focal(path.steps[-1].head) < focal(plain) - 1e-4


def test_an_adjusted_head_answers_as_if_classes_were_equally_frequent():
    labels = np.repeat([0, 1], [300, 30])
    features = np.random.default_rng(0).normal(size=(330, 1, 3))
    objective = Objective(np.log(np.array([300, 30]) / 330))
    data = Table(features, labels, np.ones(330), np.arange(330))
    path = solve_path(data, 2, head(model="multinomial"), objective)
    shares = np.exp(path.steps[0].head.log_probabilities(features[:, 0])).mean(axis=0)
    assert shares == pytest.approx([0.5, 0.5], abs=0.03)


def test_an_ordinal_head_takes_no_other_objective():
    with pytest.raises(ValueError, match="own likelihood"):
        solve_path(table(), 4, head(), Objective(np.zeros(4), label_smoothing=0.1))


@pytest.mark.parametrize("model", ["ordinal", "multinomial"])
def test_the_basis_folds_back_into_one_linear_map(model):
    data = table(views=2)
    fitted = last_head(data, model=model)
    rows = data.features.reshape(-1, data.features.shape[2])
    emphasis = emphasise((2, 4), 0.5)
    basis = find_basis(rows, np.full(len(rows), 1 / len(rows)), emphasis)
    assert basis.coordinates(rows).var(axis=0).sum() == pytest.approx(1)
    weight = np.random.default_rng(0).normal(size=(basis.axes.shape[1], 2))
    raw, shift = basis.fold_back(weight)
    assert rows @ raw - shift == pytest.approx(basis.coordinates(rows) @ weight, abs=1e-10)
    assert fitted.linear.weight.shape[-1] == rows.shape[1]


def test_blocks_share_the_variance_by_a_power_of_their_widths():
    mean, spread = np.array([0.0, 3, 4, 5]), np.array([2.0, 0, 8, 1])
    for power, share in ((0, [1, 0, 1, 1]), (1, [3, 0, 1, 1])):
        scale = standard_scale(mean, spread, emphasise((1, 3), power))
        assert (scale * spread) ** 2 == pytest.approx(np.array(share) / sum(share))


def test_a_narrow_block_is_heard_beside_a_wide_one():
    """One feature knows the class, 400 know nothing: the penalty should spare the one."""
    random = np.random.default_rng(0)
    labels = np.arange(120) % 2
    telling = labels[:, None] + random.normal(scale=0.7, size=(120, 1))
    features = np.concatenate([telling, random.normal(size=(120, 400))], axis=1)[:, None]
    data = Table(features, labels, np.ones(120), np.arange(120), widths=(1, 400))
    right = {}
    for power in (0, 1):
        path = solve_path(data, 2, head(select="cross_fit", width_power=power))
        answers = path.steps[path.chosen].cross_fitted
        right[power] = np.mean(answers.argmax(axis=1) == labels)
    assert right[0] < 0.65 and right[1] > 0.72


def test_widths_of_one_block_change_nothing():
    data = table()
    rows = data.features[:, 0]
    one = last_head(replace(data, widths=(6,)), width_power=1)
    assert (one.logits(rows) == last_head(data, width_power=0).logits(rows)).all()


@pytest.mark.parametrize("model", ["ordinal", "multinomial"])
@pytest.mark.parametrize("wide", [False, True], ids=["rows > columns", "rows < columns"])
def test_a_weight_of_2_is_an_image_given_twice(model, wide):
    data = table(n=60, width=200 if wide else 6)
    twice = np.concatenate([np.arange(60), np.arange(20)])
    weights = np.where(np.arange(60) < 20, 2.0, 1.0)
    weighted = last_head(Table(data.features, data.labels, weights, data.patients), model=model)
    doubled = last_head(
        Table(data.features[twice], data.labels[twice], np.ones(80), data.patients[twice]),
        model=model,
    )
    rows = data.features[:, 0]
    assert weighted.log_probabilities(rows) == pytest.approx(
        doubled.log_probabilities(rows), abs=1e-5
    )


def test_several_equal_views_are_one_view():
    data = table()
    views = Table(data.features.repeat(3, axis=1), data.labels, data.weights, data.patients)
    rows = data.features[:, 0]
    assert last_head(views).logits(rows) == pytest.approx(last_head(data).logits(rows), abs=1e-5)


@pytest.mark.parametrize("model", ["ordinal", "multinomial"])
@pytest.mark.parametrize("absent", [0, 1, 3])
def test_a_class_that_train_lacks_gets_probability_0_and_a_warning(model, absent):
    data = table()
    keep = data.labels != absent
    part = Table(data.features[keep], data.labels[keep], data.weights[keep], data.patients[keep])
    with pytest.warns(UserWarning, match=f"class number {absent}"):
        path = solve_path(part, 4, head(model=model, select="cross_fit"))
    probabilities = np.exp(path.steps[-1].head.log_probabilities(data.features[:, 0]))
    assert (probabilities[:, absent] == 0).all()
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(len(probabilities)))
    assert np.isfinite(path.steps[-1].head.logits(data.features[:, 0])).all()


@pytest.mark.parametrize("model", ["ordinal", "multinomial"])
def test_a_class_of_one_patient_is_absent_from_the_fold_that_holds_it_out(model):
    data = table()
    one = np.flatnonzero(data.labels == 0)
    patients = data.patients.copy()
    patients[one] = 1000
    rare = Table(data.features, data.labels, data.weights, patients)
    path = solve_path(rare, 4, head(model=model, select="cross_fit"))
    assert (np.exp(path.steps[-1].cross_fitted[one, 0]) == 0).all()
    assert path.chosen is not None


def test_training_images_of_one_class_are_refused():
    data = table()
    same = Table(data.features, np.ones_like(data.labels), data.weights, data.patients)
    with pytest.raises(UserError, match="two classes"):
        solve_path(same, 4, head())


@pytest.mark.parametrize("model", ["ordinal", "multinomial"])
def test_a_path_begins_near_the_class_shares_and_ends_overfitted(model):
    data = table(n=80, width=120)
    path = solve_path(data, 4, head(model=model, select="cross_fit", penalties={
        "strongest": 10.0, "weakest": 1e-5, "steps": 10}))  # fmt: skip
    rows = np.arange(80)
    first, last = (s.head.log_probabilities(data.features[:, 0]) for s in path.steps[::9])
    shares = np.bincount(data.labels) / 80
    assert np.exp(first) == pytest.approx(np.tile(shares, (80, 1)), abs=0.05)
    assert (last.argmax(axis=1) == data.labels).all()
    losses = [-s.cross_fitted[rows, data.labels].mean() for s in path.steps]
    assert losses[path.chosen] == min(losses)
    assert 0 < path.chosen < 9


def test_cross_fitted_answers_know_nothing_of_the_patient():
    data = table(n=60, width=100)  # wide: a head that saw an image's label gets it right
    random = np.random.default_rng(1)
    noise = Table(random.normal(size=data.features.shape), data.labels, data.weights, data.patients)
    path = solve_path(noise, 4, head(select="cross_fit"))
    right = path.steps[-1].cross_fitted.argmax(axis=1) == data.labels
    assert right.mean() < 0.45
    seen = path.steps[-1].head.logits(noise.features[:, 0]).argmax(axis=1) == data.labels
    assert seen.mean() > 0.9


def test_refitted_thresholds_lie_closer_where_the_head_overfits():
    data = table(n=80, width=120)
    joint = last_head(data).linear.thresholds
    refitted = last_head(data, thresholds="cross_fitted").linear.thresholds
    assert np.ptp(refitted) < np.ptp(joint)
    assert (np.diff(refitted) > 0).all()


def test_thresholds_are_refitted_without_a_warning_where_scores_lie_far_apart():
    labels = np.repeat(np.arange(4), 10)
    scores = 300.0 * labels + np.random.default_rng(0).normal(size=40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        thresholds = fit_thresholds(scores, labels, np.full(40, 1 / 40))
    assert (np.searchsorted(thresholds, scores) == labels).all()


def test_folds_keep_patients_together_and_there_are_no_more_than_patients():
    labels, patients = np.arange(40) % 2, np.arange(40) // 4
    folds = assign_folds(labels, patients, 5, 0)
    assert all(len(set(folds[patients == p])) == 1 for p in range(10))
    assert set(folds) == set(range(5))
    assert assign_folds(labels, patients // 4, 5, 0).max() <= 2


@pytest.mark.parametrize(
    ("labels", "patients"), [([0, 1, 2, 3], [0, 1, 2, 3]), ([0, 0, 1, 1], [0, 0, 0, 0])]
)
def test_what_is_too_little_to_cross_fit_is_refused_with_the_reason(labels, patients):
    few = Table(
        np.random.default_rng(0).normal(size=(4, 1, 3)),
        *map(np.array, (labels, [1.0] * 4, patients)),
    )
    with pytest.raises(
        UserError, match=r"two patients and two images of one class, .* cross-fitted"
    ):
        solve_path(few, 4, head(select="cross_fit"))


def test_a_kernel_head_learns_what_no_line_can():
    random = np.random.default_rng(0)
    points = random.uniform(-1, 1, size=(300, 1, 2))
    labels = (points[:, 0, 0] * points[:, 0, 1] > 0).astype(int)
    data = Table(points, labels, np.ones(300), np.arange(300))
    right = {}
    for kernel in ("none", "rbf"):
        settings = head(kernel=kernel, rbf={"features": 128, "scale": 0.5}, select="cross_fit")
        path = solve_path(data, 2, settings)
        right[kernel] = np.mean(path.steps[path.chosen].cross_fitted.argmax(axis=1) == labels)
    assert right["none"] < 0.65
    assert right["rbf"] > 0.9


def test_a_kernel_is_drawn_from_its_seed_and_approximates_the_gaussian():
    from mammo.heads.kernel import draw_fourier_features, median_distance

    features = np.random.default_rng(0).normal(size=(50, 10))
    drawn = draw_fourier_features(features, 20_000, 1.0, seed=3)
    assert (drawn.projection == draw_fourier_features(features, 20_000, 1.0, 3).projection).all()
    scaled = (features - features.mean(0)) / features.std(0) / np.sqrt(10)
    distances = np.linalg.norm(scaled[:, None] - scaled, axis=2)
    mapped = drawn.map(features) * np.sqrt(2 / 20_000)
    assert mapped @ mapped.T == pytest.approx(
        np.exp(-(distances**2) / 2 / median_distance(scaled) ** 2), abs=0.05
    )


@pytest.mark.parametrize("alike", [slice(0, 150), slice(0, 120)], ids=["all", "most"])
def test_a_kernel_head_on_images_that_are_alike_answers_in_numbers(alike):
    data = table()
    features = data.features.copy()
    features[alike] = 3.0
    settings = head(kernel="rbf", select="cross_fit")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = solve_path(replace(data, features=features), 4, settings)
    answers = np.exp(path.steps[-1].head.log_probabilities(features[:, 0]))
    assert np.isfinite(answers).all()
    shares = np.bincount(data.labels[alike]) / len(data.labels[alike])
    assert answers[0] == pytest.approx(shares, abs=0.05)


@pytest.mark.parametrize("gamma", [0, 2])
def test_a_penalty_of_next_to_nothing_still_gives_a_head(gamma):
    """The weakest one is far below what rounding leaves of the curvature."""
    data = table()
    penalties = {"strongest": 1.0, "weakest": 1e-30, "steps": 4}
    settings = head(model="multinomial", penalties=penalties)
    steps = solve_path(data, 4, settings, Objective(np.zeros(4), gamma=gamma)).steps
    near = solve_path(
        data, 4, head(model="multinomial", penalties={**penalties, "weakest": 1e-10}),
        Objective(np.zeros(4), gamma=gamma),
    ).steps  # fmt: skip
    rows = data.features[:, 0]
    last, other = (np.exp(path[-1].head.log_probabilities(rows)) for path in (steps, near))
    assert last == pytest.approx(other, abs=1e-4)


def test_the_same_table_solves_to_the_same_head():
    data = table()
    first, again = (last_head(data, select="cross_fit") for _ in range(2))
    assert (first.linear.weight == again.linear.weight).all()


def test_noise_in_a_constant_feature_weighs_nothing():
    data = table()
    features = data.features.copy()
    features[:, :, 1] = 3 + 1e-7 * np.random.default_rng(0).normal(size=features.shape[:2])
    noisy = last_head(Table(features, data.labels, data.weights, data.patients))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features[:, :, 1] = 3
        constant = last_head(Table(features, data.labels, data.weights, data.patients))
    rows = features[:, 0]
    assert noisy.logits(rows) == pytest.approx(constant.logits(rows), abs=1e-3)


def test_scipys_blas_has_one_thread_while_a_head_is_solved_and_its_own_afterwards():
    blas = _scipys_blas()
    if not blas.lib_controllers:
        pytest.skip("this SciPy brings no BLAS of its own")
    before = [library["num_threads"] for library in blas.info()]
    with blas.limit(limits=1):
        assert {library["num_threads"] for library in blas.info()} == {1}
    assert [library["num_threads"] for library in blas.info()] == before
    assert all("scipy.libs" in library["filepath"] for library in blas.info())
