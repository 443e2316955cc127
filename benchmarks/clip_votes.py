"""How a film's frames become its one label: votes compared on SYNTHETIC clips made of FER+ stills.

    python benchmarks/clip_votes.py [--model NAME_OR_PATH] [--ferplus DIR] [--part holdout|valid]
                                    [--clips FOLDER]

A clip is 30 frames: some are views of one expressive still, the others of one neutral still, or
(talking) half of them of four stills on which the voters did not agree, from 30 to 50 % of them
for neutral. Views differ as a
detector's crops of one face do. Expressive clips count by the label of their expressive still, each
of the seven labels alike; clips without expressive frames are neutral, and must stay so.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from measuring import machine, table, unpacked
from stills import CLIPS, Still, films, read_stills, without_prior

from emoscope.analysis.analyzer import Analyzer
from emoscope.analysis.bundle import Bundle, load_bundle
from emoscope.core.votes import VOTES, sum_probability
from emoscope.media.clips import Clip, finish, gather
from emoscope.training.augment import Augmentation, draw

FRAMES = 30
SHARES = (0.2, 0.3, 0.4, 0.6, 0.8, 1.0)  # of a clip's frames that are expressive
FILLERS = {"neutral": 0.0, "talking": 0.5}  # part of the other frames that are ambiguous
AMBIGUOUS = 4  # stills of them in a clip
VIEWS, STILLS = 10, 40  # of a still; a label
CLIPS_A_LABEL = 150
KEPT = 0.9  # of neutral clips, in the comparison at an equal part
VIEW = Augmentation(
    rotate_deg=4, scale=(0.94, 1.06), shift=0.04, brightness=0.1, contrast=0.15, blur=0.3
)

FloatArray = npt.NDArray[np.floating]
Rule = Callable[[FloatArray, Sequence[str]], FloatArray]  # (U, C), labels -> (C,)


def registered(name: str) -> Rule:
    """A vote of the library."""
    return lambda probs, labels: VOTES[name](probs, labels=labels)


def log_sum(probs: FloatArray, labels: Sequence[str]) -> FloatArray:
    """The product of what the frames say, to the power of 1 / U: they count as experts that all
    have to agree."""
    logs = np.log(np.maximum(probs, 1e-9)).mean(axis=0)
    shares = np.exp(logs - logs.max())
    return np.asarray(shares / shares.sum())


def neutral_of(probs: FloatArray, labels: Sequence[str]) -> FloatArray:
    """(U,)."""
    return probs[:, labels.index("neutral")]


def least_neutral(part: float) -> Rule:
    """The mean of the part of the frames that are least neutral."""

    def rule(probs: FloatArray, labels: Sequence[str]) -> FloatArray:
        kept = np.argsort(neutral_of(probs, labels))[: max(round(part * len(probs)), 1)]
        return np.asarray(probs[kept].mean(axis=0))

    return rule


def surest(part: float) -> Rule:
    """The mean of the part of the frames whose largest probability is largest."""

    def rule(probs: FloatArray, labels: Sequence[str]) -> FloatArray:
        kept = np.argsort(-probs.max(axis=1))[: max(round(part * len(probs)), 1)]
        return np.asarray(probs[kept].mean(axis=0))

    return rule


def by_expression(floor: float, power: float) -> Rule:
    """Frames count by a floor and a power of 1 - p(neutral)."""
    return lambda probs, labels: sum_probability(
        probs, floor + (1 - neutral_of(probs, labels)) ** power + 1e-9
    )


def by_confidence(power: float) -> Rule:
    """Frames count by a power of their largest probability."""
    return lambda probs, _: sum_probability(probs, probs.max(axis=1) ** power)


RULES: dict[str, Rule] = {
    **{name: registered(name) for name in VOTES},
    "log-sum": log_sum,
    "half that is least neutral": least_neutral(0.5),
    "fifth that is least neutral": least_neutral(0.2),
    "weighted by 1 - p(neutral)": by_expression(0.0, 1.0),
    "weighted by its root": by_expression(0.0, 0.5),
    "weighted by 0.2 + 1 - p(neutral)": by_expression(0.2, 1.0),
    "weighted by confidence": by_confidence(1.0),
    "weighted by confidence squared": by_confidence(2.0),
    "surest half": surest(0.5),
}


def views(still: Still, bundle: Bundle, rng: np.random.Generator) -> FloatArray:
    """(VIEWS, C) by the prior of training."""
    spec = bundle.clip_spec
    material = gather(Clip([still.picture]), spec, np.array([0]))
    seen = [finish(draw(VIEW, rng).apply(material), spec) for _ in range(VIEWS)]
    return bundle.predict({name: np.stack([one[name] for one in seen]) for name in seen[0]})


def pooled(stills: Sequence[Still], bundle: Bundle) -> dict[str, FloatArray]:
    """Predictions for views of many stills, (stills, VIEWS, C) under the training prior: one entry
    per label with a majority of votes, and one for ambiguous stills."""
    rng, neutral = np.random.default_rng(0), bundle.labels.index("neutral")
    kinds: dict[str, list[Still]] = {}
    for still in stills:
        if float(still.votes.max()) > 0.5:
            kinds.setdefault(bundle.labels[still.truth], []).append(still)
        elif float(still.votes[neutral]) >= 0.3:
            kinds.setdefault("ambiguous", []).append(still)
    return {
        kind: np.stack([views(still, bundle, rng) for still in some[:STILLS]])
        for kind, some in kinds.items()
    }


def frames_of(said: FloatArray, stills: int, count: int, rng: np.random.Generator) -> FloatArray:
    """(count, C): views of so many stills of (S, VIEWS, C)."""
    chosen = rng.choice(len(said), size=stills)
    return said[rng.choice(chosen, size=count), rng.integers(VIEWS, size=count)]


def clip(
    pool: Mapping[str, FloatArray], label: str, share: float, talk: float, rng: np.random.Generator
) -> FloatArray:
    """(FRAMES, C) of a clip, `label` in a share of its frames."""
    expressive = round(share * FRAMES)
    ambiguous = round(talk * (FRAMES - expressive))
    return np.concatenate(
        [
            frames_of(pool[label], 1, expressive, rng),
            frames_of(pool["neutral"], 1, FRAMES - expressive - ambiguous, rng),
            frames_of(pool["ambiguous"], AMBIGUOUS, ambiguous, rng),
        ]
    )


def answers(
    pool: Mapping[str, FloatArray],
    labels: Sequence[str],
    shown: Sequence[str],
    share: float,
    talk: float,
) -> dict[str, FloatArray]:
    """{rule: (shown, CLIPS_A_LABEL, C)} of clips that show each label; all rules see the same."""
    rng = np.random.default_rng(0)
    made = [[clip(pool, label, share, talk, rng) for _ in range(CLIPS_A_LABEL)] for label in shown]
    return {
        name: np.array([[rule(probs, labels) for probs in clips] for clips in made])
        for name, rule in RULES.items()
    }


def factor_that_keeps(kept: float, shares: FloatArray, neutral: int) -> float:
    """Factor for the neutral share at which the fraction `kept` of neutral clips (N, C) is
    classified as neutral."""
    others = np.delete(shares, neutral, axis=1).max(axis=1)
    return 1 / float(np.quantile(shares[:, neutral] / np.maximum(others, 1e-12), 1 - kept))


def votes_table(pool: Mapping[str, FloatArray], labels: Sequence[str], kept: float | None) -> str:
    """Mean recall of the expressive labels by share and filler, and recall of neutral clips, for
    each rule. With `kept`, the neutral share is scaled so that this fraction of neutral clips is
    classified as neutral, which makes the rules comparable."""
    neutral = labels.index("neutral")
    shown = [label for label in labels if label != "neutral" and label in pool]
    still = {talk: answers(pool, labels, ["neutral"], 0.0, talk) for talk in FILLERS.values()}
    factors = dict.fromkeys(RULES, 1.0)
    if kept is not None:
        for name in RULES:
            both = np.concatenate([said[name][0] for said in still.values()])
            factors[name] = factor_that_keeps(kept, both, neutral)
    header, cells = ["vote"], {name: [name] for name in RULES}

    def right(said: Mapping[str, FloatArray], name: str, names: Sequence[str]) -> float:
        weights = np.ones(len(labels))
        weights[neutral] = factors[name]
        truth = np.array([labels.index(label) for label in names])
        return float(((said[name] * weights).argmax(axis=2) == truth[:, None]).mean())

    for filler, talk in FILLERS.items():
        for share in SHARES:
            if share == 1.0 and talk:
                continue  # nothing is left to fill
            said = answers(pool, labels, shown, share, talk)
            header.append(f"{filler}, {share:.0%}")
            for name in RULES:
                cells[name].append(f"{100 * right(said, name, shown):.0f}")
        header.append(f"{filler}: neutral stays")
        for name in RULES:
            cells[name].append(f"{100 * right(still[talk], name, ['neutral']):.0f}")
    return table(header, list(cells.values()))


def films_table(bundle: Bundle, clips: Sequence[Path]) -> str:
    """Answer of each vote on real videos, for the face seen longest, under the uniform prior."""
    analyzer = Analyzer(bundle, smooth_s=0)
    answers: dict[str, list[str]] = {name: [] for name in RULES}
    for path in clips:
        timeline = analyzer.analyze(path)
        seen = [timeline.for_track(track) for track in timeline.tracks]
        longest = max(seen, key=len)
        probs = longest.probs[longest.seen]
        for name, rule in RULES.items():
            shares = rule(probs, bundle.labels)
            first, second = np.argsort(-shares)[:2].tolist()
            answers[name].append(
                f"{bundle.labels[first]} {shares[first]:.2f}, "
                f"{bundle.labels[second]} {shares[second]:.2f}"
            )
    return table(
        ["vote", *(path.stem for path in clips)], [[n, *row] for n, row in answers.items()]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="face-ferplus")
    parser.add_argument("--ferplus", type=Path)
    parser.add_argument("--part", choices=("holdout", "valid"), default="holdout")
    parser.add_argument("--clips", type=Path, default=CLIPS)
    args = parser.parse_args()
    bundle = load_bundle(args.model)
    stills = read_stills(args.ferplus or unpacked("ferplus"), args.part, clear=False)
    pool = pooled(stills, bundle)
    uniform = {kind: without_prior(said, bundle) for kind, said in pool.items()}
    for prior, said in (("uniform", uniform), ("train", pool)):
        print(f"Mean recall of the expressive labels in %, prior {prior}\n")
        print(votes_table(said, bundle.labels, None), "\n")
    print(f"The same, prior uniform, neutral weighted so that {KEPT:.0%} of neutral clips stay\n")
    print(votes_table(uniform, bundle.labels, KEPT), "\n")
    clips = films(args.clips)
    if clips:
        print(f"Real films, uniform prior\n\n{films_table(bundle, clips)}\n")
    counts = ", ".join(f"{label} {len(said)}" for label, said in pool.items())
    print(
        f"SYNTHETIC clips of {bundle.name} {bundle.card.version}'s answers; stills of FER+'s "
        f"{args.part} part: {counts}. {CLIPS_A_LABEL} clips a label. {machine()}."
    )


if __name__ == "__main__":
    main()
