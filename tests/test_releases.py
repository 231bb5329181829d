"""Releases that pay once: sensitivity, noise, and what is made of them, against closed forms and slow versions."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2, kstest, multivariate_normal

from wearsynth import releases
from wearsynth.codecs import DescriptorCodec, moments_of
from wearsynth.generators import codec_of
from wearsynth.privacy import Promise
from wearsynth.releases import (
    LEAST_NOISE,
    LITTLE_NOISE,
    OTHERS_WEIGHT,
    SOME_NOISE,
    Moments,
    Query,
    choose_query,
    clip,
    clipped_sum,
    noised,
    release,
)
from wearsynth.windows import EXTENDED, SHARES, Windows

ALONE = Promise(release_share=1.0)
QUERIES = {"all products": LITTLE_NOISE, "products of levels": SOME_NOISE, "levels first": 1.0}  # by noise


@pytest.fixture(scope="module")
def three_classes(toy_codec):
    """The same prior with a third class."""
    donors = replace(toy_codec.donors, labels=np.arange(len(toy_codec.donors.labels)) % 3)
    return DescriptorCodec.from_donors(donors, (0.5, 0.3, 0.2))


def query_of(codec, name):
    return choose_query(codec, QUERIES[name])


def vectors(windows, codec, query, unit):
    return releases._vectors(windows, codec, query, unit)


def power(matrix, exponent):
    variances, directions = np.linalg.eigh(matrix)
    return directions @ np.diag(variances**exponent) @ directions.T


def within(codec):
    """Covariance within the classes, in the public share, in the prior."""
    return np.average(codec.covariances, axis=0, weights=codec.shares)


def slow_asked(codec, name, difference):
    """What a query asks of one window's coordinates."""
    if name != "levels first":
        return power(within(codec), -0.5) @ difference
    covariance, asked = within(codec), np.zeros(codec.size)
    levels = [number for number in range(codec.size) if number % 6 == 0]
    others = [number for number in range(codec.size) if number % 6]
    of_levels, across = covariance[np.ix_(levels, levels)], covariance[np.ix_(others, levels)]
    slopes = np.linalg.solve(of_levels, across.T).T
    rest = covariance[np.ix_(others, others)] - slopes @ across.T
    asked[levels] = power(of_levels, -0.5) @ difference[levels]
    asked[others] = OTHERS_WEIGHT * power(rest, -0.5) @ (difference[others] - slopes @ difference[levels])
    return asked


def slow_vectors(windows, codec, name, unit):
    """The same by loops: one window, one pair of coordinates after the other."""
    query = query_of(codec, name)
    whitening_of_pairs = power(within(codec)[query.paired][:, query.paired], -0.5)
    rows = []
    for index, label in enumerate(windows.labels):
        difference = codec.encode(windows.values[index : index + 1])[0] - codec.means[label]
        paired = whitening_of_pairs @ difference[query.paired]
        known = whitening_of_pairs @ codec.covariances[label][query.paired][:, query.paired] @ whitening_of_pairs
        products = [
            query.product_weight * (1 if i == j else math.sqrt(2)) * (paired[i] * paired[j] - known[i, j])
            for i in range(len(query.paired))
            for j in range(i, len(query.paired))
        ]
        rows.append((label, np.array([*slow_asked(codec, name, difference), *products])))
    if unit == "window":
        return [np.concatenate([own * (label == 0), own * (label == 1)]) for label, own in rows]
    result = []
    for person in np.unique(windows.subjects):
        mine = [row for row, subject in zip(rows, windows.subjects) if subject == person]
        parts = [[own for label, own in mine if label == wanted] for wanted in (0, 1)]
        result.append(np.concatenate([np.mean(part, axis=0) if part else np.zeros(len(rows[0][1])) for part in parts]))
    return result


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("unit", ["window", "subject"])
def test_vectors_equal_a_loops(make_toy_windows, toy_codec, unit, name):
    windows = make_toy_windows()[np.r_[0, 3, 4:22]]  # the first person has windows with stress only, the last few
    found, counts = vectors(windows, toy_codec, query_of(toy_codec, name), unit)
    np.testing.assert_allclose(found, slow_vectors(windows, toy_codec, name, unit), rtol=1e-9, atol=1e-9)
    n = len(windows) if unit == "window" else 4
    expected = [n * SHARES[0], n * SHARES[1]] if unit == "window" else [n, n]
    np.testing.assert_allclose(counts, np.repeat(expected, len(found[0]) // 2))


@pytest.mark.parametrize("unit", ["window", "subject"])
def test_windows_taken_in_parts_give_the_same_sum(make_toy_windows, toy_codec, unit, monkeypatch):
    """Parts of about four windows, and of one person at least: nobody is cut in two."""
    windows, query = make_toy_windows()[np.r_[0, 3, 4:22]], query_of(toy_codec, "all products")
    expected = clipped_sum(windows, toy_codec, query, unit)
    monkeypatch.setattr(releases, "MOST_WINDOWS", 4)
    parts = list(releases._parts(windows, unit))
    assert sum(map(len, parts)) == len(windows) and len(parts) == (5 if unit == "window" else 4)
    if unit == "subject":
        assert [set(part.subjects) for part in parts] == [{person} for person in np.unique(windows.subjects)]
    for found, whole in zip(clipped_sum(windows, toy_codec, query, unit), expected):
        np.testing.assert_allclose(found, whole, rtol=1e-9, atol=1e-12)  # but for rounding


@pytest.mark.parametrize("unit", ["window", "subject"])
def test_of_three_classes_each_has_its_part_of_a_vector(make_toy_windows, three_classes, unit):
    """And no unit's is longer than the clip norm: a person's, who has windows of all, as little as a window's."""
    windows = make_toy_windows()
    windows = replace(windows, labels=np.arange(len(windows)) % 3)
    query = choose_query(three_classes, 0.0)
    found, counts = vectors(windows, three_classes, query, unit)
    units = np.arange(len(windows)) if unit == "window" else windows.subjects
    asked = releases._asked(three_classes.encode(windows.values), windows.labels, three_classes, query)
    for vector, own in zip(found, [units == each for each in dict.fromkeys(units)]):
        parts = [asked[own & (windows.labels == label)] for label in range(3)]
        expected = [part.mean(axis=0) if len(part) else np.zeros(asked.shape[1]) for part in parts]
        np.testing.assert_allclose(vector, np.concatenate(expected), atol=1e-12)
    n = len(windows) * np.array(three_classes.shares) if unit == "window" else [4, 4, 4]
    np.testing.assert_allclose(counts, np.repeat(n, asked.shape[1]))
    whole = releases.clipped_sum(windows, three_classes, query, unit)[0]
    for each in dict.fromkeys(units):
        without = releases.clipped_sum(windows[units != each], three_classes, query, unit)[0]
        assert np.linalg.norm(whole - without) <= query.clip_norm * (1 + 1e-9)


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("unit", ["window", "subject"])
def test_one_unit_more_moves_the_sum_by_a_clip_norm_at_most(make_toy_windows, toy_codec, unit, name):
    """Whatever a unit holds: extreme values, or some that are not finite at all."""
    query = query_of(toy_codec, name)
    windows = make_toy_windows()
    for value in (0.0, 1.0, 1e30, np.nan, np.inf):
        others = np.isin(windows.subjects, ["S2", "S3", "S4"])
        values = np.where(others[:, None, None], windows.values, np.float32(value))
        found, _ = vectors(replace(windows, values=values), toy_codec, query, unit)
        lengths = np.linalg.norm(clip(found, query.clip_norm), axis=1)
        assert np.isfinite(lengths).all() and lengths.max() <= query.clip_norm * (1 + 1e-9)
        without, _ = vectors(windows[others], toy_codec, query, unit)
        # The others' vectors are what they were: nothing of a unit gets into another's.
        np.testing.assert_allclose(found[: len(without)], without, atol=1e-9)


def test_clipping_shortens_what_is_longer_and_nothing_else():
    found = clip(np.array([[3.0, 4.0], [0.3, 0.4], [0, 0], [np.nan, 1]]), 1.0)
    np.testing.assert_allclose(found, [[0.6, 0.8], [0.3, 0.4], [0, 0], [0, 0]])


def test_what_is_asked_goes_by_the_noise_of_a_mean(toy_codec):
    edges = [0.0, LITTLE_NOISE, SOME_NOISE, np.inf]
    for n_paired, least, most in zip((toy_codec.size, len(toy_codec.levels), 0), edges, edges[1:]):
        found = [len(choose_query(toy_codec, noise).paired) for noise in (np.nextafter(least, 1), most)]
        assert found == [n_paired, n_paired]
    loose, tight = (choose_query(toy_codec, noise).clip_norm for noise in (LEAST_NOISE, np.nextafter(LEAST_NOISE, 1)))
    assert loose == pytest.approx(2 * tight)
    for kind, products in {"levels": False, "copula": True}.items():
        codec = codec_of(kind, toy_codec)
        for noise in (0.0, np.inf):
            assert len(choose_query(codec, noise).paired) == codec.size * products


@pytest.mark.parametrize("unit", ["window", "subject"])
def test_the_noise_is_the_promised_one_in_every_entry(make_toy_windows, toy_codec, unit):
    """What is released less the sum, over the promised scale: independent, standard normal."""
    windows, query, promise = make_toy_windows(), query_of(toy_codec, "levels first"), Promise(unit, release_share=1.0)
    (total, _), rng = clipped_sum(windows, toy_codec, query, unit), np.random.default_rng(0)
    scale = promise.release_noise_multiplier * query.clip_norm
    noise = np.array([noised(total, query, promise, rng) - total for _ in range(400)]) / scale
    assert kstest(noise.ravel(), "norm").pvalue > 1e-3  # seeded: passes or fails for good
    # The sum of 400 squares is chi-square with 400 degrees of freedom: bounds for all entries at once.
    tail = 1e-3 / noise.shape[1]
    squares = (noise**2).sum(axis=0)
    assert (chi2.ppf(tail, 400) < squares).all() and (squares < chi2.isf(tail, 400)).all()
    assert abs(np.mean(noise**2) - 1) < 4 * np.sqrt(2 / noise.size)  # of all entries, a fraction of a per cent
    # Independent between entries, those of both classes above all, and between releases.
    for correlations in (np.corrcoef(noise.T), np.corrcoef(noise)):
        beside = np.abs(correlations[np.triu_indices(len(correlations), 1)])
        assert beside.max() < 6 / np.sqrt(noise.size / len(correlations))


def test_noise_comes_from_entropy_and_its_variance_is_handed_on(make_toy_windows, toy_codec, monkeypatch):
    given, query, windows = [], query_of(toy_codec, "products of levels"), make_toy_windows()
    monkeypatch.setattr(releases, "_posterior", lambda mean, variances, *_: given.append((mean, variances)))
    for _ in range(2):
        release(windows, toy_codec, query, ALONE)
    (first, variances), (second, _) = given
    assert not np.isclose(first, second).any()
    _, counts = vectors(windows, toy_codec, query, "window")
    np.testing.assert_allclose(variances, (ALONE.release_noise_multiplier * query.clip_norm / counts) ** 2)


def test_a_private_promise_that_pays_for_no_release_is_refused_one(make_toy_windows, toy_codec):
    with pytest.raises(ValueError, match="release_share=0: expected a promise that pays"):
        release(make_toy_windows(), toy_codec, choose_query(toy_codec, 0.0), Promise())


@pytest.mark.parametrize("kind", ["released", "copula", "levels"])
def test_without_privacy_the_moments_are_the_windows_own(make_toy_windows, toy_codec, kind):
    """Of covariances, the part that is asked."""
    codec, windows = codec_of(kind, toy_codec), make_toy_windows()
    query = choose_query(codec, 0.0)
    found = release(windows, codec, query, Promise(epsilon=math.inf, release_share=1.0))
    pairs = np.ix_(query.paired, query.paired)
    for label in (0, 1):
        own = codec.encode(windows.values[windows.labels == label])
        np.testing.assert_allclose(found.means[label], own.mean(axis=0))
        np.testing.assert_allclose(found.covariances[label][pairs], np.cov(own.T, bias=True)[pairs], atol=1e-9)
        if kind == "levels":
            np.testing.assert_array_equal(found.covariances[label], codec.covariances[label])


def test_what_is_not_asked_of_covariances_follows_from_what_is_as_in_the_prior(toy_codec):
    codec, query = toy_codec, query_of(toy_codec, "products of levels")
    pairs = np.ix_(query.paired, query.paired)
    paired = np.stack(
        [(1 + label) * np.cov(np.random.default_rng(0).normal(size=(len(pairs[0]), 20))) for label in (0, 1)]
    )
    for found, own, known in zip(releases._with_paired(codec, query, paired), paired, codec.covariances):
        np.testing.assert_allclose(found[pairs], own, atol=1e-9)
        slopes, slopes_known = (np.linalg.solve(each[pairs], each[query.paired]) for each in (found, known))
        np.testing.assert_allclose(slopes, slopes_known, atol=1e-7)
        rest, rest_known = found - found[:, query.paired] @ slopes, known - known[:, query.paired] @ slopes_known
        np.testing.assert_allclose(rest, rest_known, atol=1e-7)
        assert np.linalg.eigvalsh(found).min() > 0


@pytest.mark.parametrize("name", QUERIES)
def test_where_noise_prevails_the_moments_stay_the_priors(make_toy_windows, toy_codec, name):
    """The means' posterior is then their prior, and windows are drawn from all of it."""
    rng = np.random.default_rng(0)  # of products, some may by chance look like more than noise
    found = release(
        make_toy_windows(), toy_codec, query_of(toy_codec, name), Promise(epsilon=1e-3, release_share=1.0), rng
    )
    spread = np.sqrt(np.diag(within(toy_codec)))
    assert np.abs((found.means - toy_codec.means) / spread).max() < 0.1
    expected = toy_codec.covariances + sum(toy_codec.prior_variances) * within(toy_codec)
    np.testing.assert_allclose(found.covariances, expected, atol=0.1 * spread.max() ** 2)


def moments_without_products(released, variances, codec, query):
    """Moments from released means (n_classes, size), with noise of `variances` (n_classes,), far more on products."""
    products = np.zeros((len(released), len(query.paired) * (len(query.paired) + 1) // 2))
    noises = np.hstack([np.tile(variances[:, None], codec.size), products + 1e12])
    return releases._posterior(np.hstack([released, products]).ravel(), noises.ravel(), codec, query)


@pytest.mark.parametrize("name", QUERIES)
def test_means_are_the_posterior_of_prior_and_release(toy_codec, name):
    """By draws instead of algebra: means from the prior, weighted by how well they explain what is released."""
    rng, codec, size = np.random.default_rng(0), toy_codec, toy_codec.size
    query = query_of(codec, name)
    white = power(within(codec), -0.5)
    released = 0.3 * np.eye(size)[0] + 0.1 * rng.normal(size=(2, size))
    variances = np.array([3.0, 5.0])  # so much noise that many draws weigh in
    found = moments_without_products(released, variances, codec, query)
    common, contrast = (np.sqrt(doubt) * rng.normal(size=(200000, size)) for doubt in codec.prior_variances)
    means = np.stack([common - contrast, common + contrast])
    seen = query.clipping_bias * np.apply_along_axis(
        lambda unit: slow_asked(codec, name, unit), 0, power(within(codec), 0.5)
    )
    seen = means @ seen.T
    misfit = np.sum((seen - released[:, None]) ** 2 / variances[:, None, None], axis=(0, 2))
    weights = np.exp(-misfit / 2)
    weights /= weights.sum()
    expected = np.einsum("n,cns->cs", weights, means)
    assert 1 / np.sum(weights**2) > 20000  # draws that count; the error of a mean is their doubt over the root of it
    np.testing.assert_allclose((found.means - codec.means) @ white, expected, atol=5 * 0.7 / np.sqrt(20000))
    about = means - expected[:, None]
    doubt = np.einsum("n,cns,cnt->cst", weights, about, about)
    # Products with so much noise leave the covariances as they were.
    added = white @ (found.covariances - codec.covariances) @ white
    np.testing.assert_allclose(added, doubt, atol=5 * 0.7 / np.sqrt(20000))


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", QUERIES)
def test_the_posterior_of_means_is_kalmans(toy_codec, three_classes, name, n_classes):
    """The same exactly, where there is less noise: by what is seen of means, not by what that makes of the noise."""
    rng, codec, size = np.random.default_rng(0), (toy_codec, three_classes)[n_classes - 2], toy_codec.size
    query = query_of(codec, name)
    white = power(within(codec), -0.5)
    see = query.clipping_bias * np.apply_along_axis(
        lambda unit: slow_asked(codec, name, unit), 0, power(within(codec), 0.5)
    )
    released, variances = rng.normal(size=(n_classes, size)), np.array([0.01, 0.03, 0.02])[:n_classes]
    found = moments_without_products(released, variances, codec, query)
    common, contrast = codec.prior_variances
    # Classes differ from what is common by numbers of this variance that add up to nothing.
    between = common + contrast * np.where(np.eye(n_classes), 1, -1 / (n_classes - 1))
    prior = np.kron(between, np.eye(size))
    both, noise = np.kron(np.eye(n_classes), see), np.diag(np.repeat(variances, size))
    expected = prior @ both.T @ np.linalg.solve(both @ prior @ both.T + noise, released.ravel())
    np.testing.assert_allclose((found.means - codec.means) @ white, expected.reshape(n_classes, size), atol=1e-8)


class AsTheyAre:
    """A codec whose coordinates are the values of windows of one second."""

    size, prior_variances, shares = 12, (0.4, 0.08), (0.7, 0.3)
    covariances = np.stack([np.eye(12)] * 2)
    means = np.stack([np.zeros(12), np.eye(12)[0]])

    def encode(self, values):
        return values[:, 0].astype(float)


def asked_of(codec, reach):
    """A query of all coordinates, and of the products of the first four."""
    return Query(releases.white_axes(codec), np.arange(4), 0.3, reach * np.sqrt(codec.size), 0.6)


def test_covariances_are_those_whose_products_are_released():
    """Of each class, where its products have no noise; of both by one class's, where the other's are lost in it."""
    rng, size, n_paired = np.random.default_rng(0), 6, 4
    codec = AsTheyAre()
    mixing = np.eye(size) + 0.3 * rng.normal(size=(2, 2, size, size))
    known, own = mixing @ mixing.swapaxes(2, 3)  # the prior's, and real people's: correlated, other in each class
    codec.size, codec.means, codec.covariances = size, rng.normal(size=(2, size)), known
    query = asked_of(codec, reach=1.0)
    pairs, upper = np.ix_(range(n_paired), range(n_paired)), np.triu_indices(n_paired)
    whitening = power(within(codec)[pairs], -0.5)
    weights = query.product_weight * np.where(upper[0] == upper[1], 1, math.sqrt(2))
    released = rng.normal(0, 2, (2, size))

    def moments(products, product_variances):
        variances = [
            np.append(np.full(size, noise), np.full(10, other)) for noise, other in zip((3, 5), product_variances)
        ]
        return releases._posterior(np.hstack([released, products]).ravel(), np.ravel(variances), codec, query)

    lost = moments(np.zeros((2, 10)), (1e12, 1e12))
    doubt = lost.covariances - known  # the posterior's, as is its mean: see the test above
    shifts = lost.means - codec.means
    # Products are of differences from the prior: the means' shift and its doubt are in them.
    squares = own + shifts[:, :, None] * shifts[:, None] + doubt - known
    products = np.stack(
        [weights * (whitening @ each[pairs] @ whitening)[upper] for each in query.clipping_bias * squares]
    )
    kept = query.clipping_bias * (own - known)
    for product_variances, changes in (((1e-9, 1e-9), kept), ((1e-9, 1e12), kept[[0, 0]])):
        found = moments(products, product_variances)
        expected = known + changes + doubt
        for ours, theirs in zip(found.covariances, expected):
            np.testing.assert_allclose(ours[pairs], theirs[pairs], atol=1e-5)


@pytest.mark.parametrize(("unit", "reach"), [("window", 0.8), ("subject", 1.0)])
def test_with_little_noise_moments_come_close_to_the_windows_own(unit, reach):
    """Means nearly as they are: clipping, made up for by one factor, leaves 0.7 to 1.3 of how far they have moved.
    Covariances, of which clipping leaves a half or so: nowhere drawn in, or stretched, by the means' having moved.
    Where the classes' own differ, so do they."""
    rng, codec, n_people = np.random.default_rng(0), AsTheyAre(), 600
    subjects = np.repeat([f"S{number}" for number in range(n_people)], 10)
    labels = (np.arange(len(subjects)) % 10 < 10 * codec.shares[1]).astype(int)
    moved = rng.normal(0, 0.5, (2, 12))
    moved[:, 0] = 0.3, -0.4  # on the axis on which classes differ
    moved[:, 1] = 1.5, 1.3  # so far that its square, were it left in the products or taken off too often, would show
    # A person's windows are all alike but for the class: then both units have vectors of much the same length.
    own = np.repeat(rng.normal(size=(n_people, 12)), 10, axis=0)
    own[:, 3] *= np.where(labels == 1, 0.5, 1.5)
    values = (codec.means + moved)[labels] + own
    windows = Windows(values[:, None].astype(np.float32), labels, subjects, tuple("abcdefghijkl"))
    found = release(windows, codec, asked_of(codec, reach), Promise(unit=unit, epsilon=50.0, release_share=1.0), rng)
    shift = found.means - codec.means
    for chosen in (slice(0, 1), slice(1, None)):
        ours, theirs = shift[:, chosen].ravel(), moved[:, chosen].ravel()
        assert 0.7 < ours @ theirs / (theirs @ theirs) < 1.3
    variances = np.linalg.eigvalsh(found.covariances[:, :3, :3])
    # Taken off in full it would leave 0.05; left in, 2.3 and more.
    assert variances.min() > 0.5 and variances.max() < 1.5
    without_stress, with_stress = found.covariances[:, 3, 3]
    assert with_stress < 0.8 and without_stress > 1.2


def test_shrinkage_gives_the_posterior_mean_of_normal_numbers():
    """Of numbers of one unknown variance: close to what that variance would give."""
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 0.5, 3000)
    noise = rng.uniform(0.1, 0.7, 3000)
    noisy = truth + rng.normal(0, np.sqrt(noise))
    best = noisy * 0.25 / (0.25 + noise)
    found = releases._shrunk(noisy, noise)
    errors = [np.mean((each - truth) ** 2) for each in (found, best, noisy, 0 * noisy)]
    assert errors[0] < 1.02 * errors[1] < min(errors[2:])


def test_shrinkage_in_both_classes_is_the_posterior_mean_of_what_they_share_and_differ_in():
    """Close to what the exact posterior gives, and closer to the truth than each class by itself."""
    rng = np.random.default_rng(0)
    noise = np.stack([np.full(3000, 0.1), np.full(3000, 0.5)])
    shares = np.array([5 / 6, 1 / 6])  # by the inverse of the noise
    common, difference = rng.normal(0, 0.5, 3000), rng.normal(0, 0.2, 3000)
    truth = np.stack([common - shares[1] * difference, common + shares[0] * difference])
    noisy = truth + rng.normal(0, np.sqrt(noise))
    spread = np.outer([-shares[1], shares[0]], [-shares[1], shares[0]])
    prior = 0.5**2 * np.ones((2, 2)) + 0.2**2 * spread
    exact = prior @ np.linalg.inv(prior + np.diag(noise[:, 0])) @ noisy
    alone = [releases._shrunk(*each) for each in zip(noisy, noise)]
    found = releases._shrunk_of_all(noisy, noise)
    errors = [np.mean((each - truth) ** 2) for each in (found, exact, alone, noisy)]
    assert errors[0] < 1.02 * errors[1] < min(errors[2:])


def test_of_three_classes_what_they_share_is_kept_where_one_is_lost_in_noise():
    rng = np.random.default_rng(0)
    common, noise = rng.normal(0, 0.5, 3000), np.stack([np.full(3000, each) for each in (0.01, 1e9, 0.02)])
    found = releases._shrunk_of_all(common + rng.normal(0, np.sqrt(noise)), noise)
    assert np.abs(found[1] - common).mean() < 0.1  # as the others say, whose mean has an error of .08


def test_moments_draw_what_they_say():
    covariances = np.array([[[2.0, 0.6], [0.6, 0.5]], [[0.5, -0.2], [-0.2, 1.0]]])
    moments = Moments(np.array([[0.0, 1.0], [3.0, -1.0]]), covariances)
    labels = np.arange(40000) % 2
    drawn = moments(np.random.default_rng(0).normal(size=(40000, 2)), labels)
    means, found = moments_of(drawn, labels, (0, 1))
    np.testing.assert_allclose(means, moments.means, atol=0.04)
    np.testing.assert_allclose(found, covariances, atol=0.05)


@pytest.mark.parametrize("name", QUERIES)
def test_vectors_are_clipped_where_the_priors_own_say(toy_codec, name, monkeypatch):
    """Windows of many studies, drawn here by SciPy; each study's means lie about the prior's by its variances."""
    query, rng, n = query_of(toy_codec, name), np.random.default_rng(5), 1000
    labels = (np.arange(n) < SHARES[1] * n).astype(int)
    covariance, (common, contrast) = within(toy_codec), toy_codec.prior_variances
    of_common, of_contrast = (multivariate_normal(cov=doubt * covariance) for doubt in (common, contrast))
    shifts = of_common.rvs(n, rng) + (2 * labels - 1)[:, None] * of_contrast.rvs(n, rng)
    own = [multivariate_normal(mean, each) for mean, each in zip(toy_codec.means, toy_codec.covariances)]
    drawn = np.stack([own[label].rvs(1, rng) for label in labels]) + shifts
    windows = Windows(drawn[:, None], labels, np.repeat("nobody", n), tuple("ab"))
    monkeypatch.setattr(DescriptorCodec, "encode", lambda codec, values: values[:, 0])  # windows are coordinates here
    lengths = np.linalg.norm(slow_vectors(windows, toy_codec, name, "window"), axis=1)
    clip_at = 0.7 if name == "levels first" else 1.1
    assert query.clip_norm == pytest.approx(clip_at * np.median(lengths), rel=0.06)  # a median of 1,000, and of 4,000
    assert query.clipping_bias == pytest.approx(np.minimum(1, query.clip_norm / lengths).mean(), abs=0.03)


def test_a_prior_with_few_windows_under_stress_gives_covariances_that_can_be(make_toy_windows):
    """Fewer than coordinates: some directions do not vary in that class, and nothing is divided by that."""
    rng = np.random.default_rng(0)
    values = np.clip(rng.uniform(0.2, 0.8, (210, 1, 9)) + 0.1 * rng.normal(size=(210, 16, 9)), 0, 1).astype(np.float32)
    labels = (np.arange(210) < 10).astype(int)
    codec = DescriptorCodec.from_windows(Windows(values, labels, np.repeat("S2", 210), EXTENDED))
    real = make_toy_windows(signals=EXTENDED)
    for epsilon in (math.inf, 10.0):
        promise = Promise(epsilon=epsilon, release_share=1.0)
        moments = release(real, codec, choose_query(codec, LITTLE_NOISE), promise, np.random.default_rng(1))
        variances = np.linalg.eigvalsh(moments.covariances)
        assert variances.min() > -1e-6 * variances.max()
