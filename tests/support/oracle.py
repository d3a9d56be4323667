"""The report's figures once more, by plain loops over plain lists: slow, and of another mind than the product."""

import math


def pooled(rows, rule, k=None):
    """Slices to patients: (fold, patient) to the label and the probabilities of the patient.

    Args:
        rows: fold, patient, label, probabilities, score of each slice.
    """
    groups = {}
    for fold, patient, label, probability, score in rows:
        groups.setdefault((fold, patient), []).append((label, probability, score))
    result = []
    for (fold, patient), slices in sorted(groups.items()):
        num_categories, found = len(slices[0][1]), []
        for category in range(num_categories):
            column = [probability[category] for _, probability, _ in slices]
            if rule == "mean":
                found.append(sum(column) / len(column))
            elif rule == "majority":
                found.append(sum(best(probability) == category for _, probability, _ in slices) / len(slices))
            else:
                highest = sorted(column)[-k:]
                found.append(sum(highest) / len(highest))
        if rule == "top_k":
            found = [value / sum(found) for value in found]
        scores = [score for _, _, score in slices]
        score = None if None in scores else max(scores)
        result.append((fold, patient, max(label for label, _, _ in slices), found, score))
    return result


def best(probability):
    """The first category of highest probability."""
    place = 0
    for category, value in enumerate(probability):
        if value > probability[place]:
            place = category
    return place


def figures(pairs, num_categories):
    """Every figure of (label, predicted) pairs; what is undefined is None."""
    n = len(pairs)
    count = [[0] * num_categories for _ in range(num_categories)]
    for label, predicted in pairs:
        count[label][predicted] += 1
    true = [sum(row) for row in count]
    said = [sum(row[category] for row in count) for category in range(num_categories)]
    recall = [quotient(count[c][c], true[c]) for c in range(num_categories)]
    precision = [quotient(count[c][c], said[c]) for c in range(num_categories)]
    f1 = [quotient(2 * count[c][c], true[c] + said[c]) for c in range(num_categories)]
    right = sum(label == predicted for label, predicted in pairs)
    result = {
        "accuracy": quotient(right, n),
        "majority_accuracy": quotient(max(true), n),
        "gain_over_majority": quotient(right - max(true), n),
        "balanced_accuracy": mean(recall, [1] * num_categories),
        "two_or_more_off": quotient(sum(abs(label - predicted) > 1 for label, predicted in pairs), n),
        "over_estimated_share": quotient(sum(predicted > label for label, predicted in pairs), n),
        "under_estimated_share": quotient(sum(predicted < label for label, predicted in pairs), n),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "icc": icc(pairs),
    }
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        result[f"{name}_macro"] = mean(values, [1] * num_categories)
        result[f"{name}_weighted"] = mean(values, true)
    for name, weight in (("plain", lambda d: d != 0), ("linear", abs), ("quadratic", lambda d: d * d)):
        observed = sum(weight(label - predicted) for label, predicted in pairs)
        expected = 0
        for one in range(num_categories):
            for other in range(num_categories):
                expected += weight(one - other) * true[one] * said[other]
        result[f"kappa_{name}"] = None if not expected or n < 2 else 1 - observed * n / expected
    return result


def icc(pairs):
    """ICC(2,1) from the mean squares of a two-way table, units by two raters."""
    n = len(pairs)
    if n < 3:
        return None
    grand = sum(label + predicted for label, predicted in pairs) / (2 * n)
    raters = [sum(pair[rater] for pair in pairs) / n for rater in (0, 1)]
    units = sum(2 * ((label + predicted) / 2 - grand) ** 2 for label, predicted in pairs) / (n - 1)
    between = sum(n * (rater - grand) ** 2 for rater in raters)
    rest = sum((pair[rater] - sum(pair) / 2 - raters[rater] + grand) ** 2 for pair in pairs for rater in (0, 1)) / (
        n - 1
    )
    whole = units + rest + 2 * (between - rest) / n
    value = (units - rest) / whole if abs(whole) > 1e-15 else None
    return None if value is None or abs(value) > 1 + 1e-9 else value


def spearman(x, y):
    """Correlation of mean ranks."""
    if len(x) < 3 or len(set(x)) < 2 or len(set(y)) < 2:
        return None
    ranks = []
    for values in (x, y):
        ordered = sorted(values)
        ranks.append([ordered.index(value) + (ordered.count(value) + 1) / 2 for value in values])
    middle = (len(x) + 1) / 2
    together = sum((a - middle) * (b - middle) for a, b in zip(*ranks, strict=True))
    return together / math.sqrt(sum((a - middle) ** 2 for a in ranks[0]) * sum((b - middle) ** 2 for b in ranks[1]))


def brier(labels, probabilities):
    total = 0
    for label, probability in zip(labels, probabilities, strict=True):
        total += sum((value - (category == label)) ** 2 for category, value in enumerate(probability))
    return quotient(total, len(labels))


def calibration_error(labels, probabilities, num_bins=10):
    """Bins are above their lower and up to their upper edge."""
    error = 0
    for index in range(num_bins):
        inside = [
            (max(probability), best(probability) == label)
            for label, probability in zip(labels, probabilities, strict=True)
            if index < max(probability) * num_bins <= index + 1
        ]
        error += abs(sum(right for _, right in inside) - sum(confidence for confidence, _ in inside))
    return quotient(error, len(labels))


def sign_test(units):
    """units: (patient, label, predicted). Returns: p of a fair coin, two-sided; None without any direction."""
    lean = {}
    for patient, label, predicted in units:
        lean[patient] = lean.get(patient, 0) + (predicted > label) - (predicted < label)
    up, down = (sum(sign * value > 0 for value in lean.values()) for sign in (1, -1))
    if not up + down:
        return None
    tail = sum(math.comb(up + down, k) for k in range(min(up, down) + 1)) / 2 ** (up + down)
    return min(1.0, 2 * tail)


def cohort(rows, folds, num_categories):
    """Counts of a cohort.

    Args:
        rows: study, patient, category, slices. folds: of each the studies to train, validate and test on.
    """
    of_study = {study: (patient, category) for study, patient, category, _ in rows}
    counted = []
    for parts in folds:
        counts = [[0, 0, 0] for _ in range(num_categories)]
        for at, part in enumerate(parts):
            highest = {}
            for study in part:
                patient, category = of_study[study]
                highest[patient] = max(category, highest.get(patient, 0))
            for category in highest.values():
                counts[category][at] += 1
        counted.append(counts)
    return {
        "studies": len(rows),
        "patients": len({patient for _, patient, _, _ in rows}),
        "slices": sum(slices for _, _, _, slices in rows),
        "studies_per_category": [sum(row[2] == category for row in rows) for category in range(num_categories)],
        "folds": counted,
    }


def total(matrices, num_categories):
    """Sum of matrices, cell by cell."""
    return [[sum(matrix[row][column] for matrix in matrices) for column in range(num_categories)]
            for row in range(num_categories)]  # fmt: skip


def collapsed(matrix, groups):
    """A matrix of coarser categories; groups: which of them each category is in."""
    found = [[0] * (max(groups) + 1) for _ in range(max(groups) + 1)]
    for row, counts in enumerate(matrix):
        for column, count in enumerate(counts):
            found[groups[row]][groups[column]] += count
    return found


def quotient(part, whole):
    return part / whole if whole else None


def mean(values, weights):
    """Of the values that are defined."""
    known = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None]
    return quotient(sum(value * weight for value, weight in known), sum(weight for _, weight in known))
