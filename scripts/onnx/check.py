"""Compares exported models in ONNX Runtime with `ztilde predict`, on the same rows.

    scripts/check-onnx

The models cover every activation, with and without batch normalization, folded and not, for classes and for
values, with and without a table. The script trains each one, exports it, runs ONNX's checker on it, and prints
the largest difference between the two predictions of 300 rows.

The tables have numbers, words or both, with missing values. Some columns are far from 0: Unix seconds, numbers
of 16 digits, 1e150 and 1e-150. The compared rows differ from the training rows: words have spaces around them,
numbers that are categories are written in other ways, and columns that were constant vary.

BOUND holds for probabilities and outputs, and for values relative to the target's deviation. WGSL
promises an accuracy of only 1e-5 for some functions, such as tanh, and the weights of later layers enlarge
or shrink this error. A wrong formula differs by far more: the tanh form of GELU by up to 5e-4, the batches'
statistics instead of the running ones by tenths.
"""

import csv
import json
import math
import random
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy
import onnx
import onnxruntime

BOUND = 1e-4
ROWS = 300
CLASSES = ['say "hot", or so', "cold", "7"]
# The epsilon is large, so that a model with a wrong epsilon gives visibly different outputs.
BATCH_NORM = ["--batch-norm-epsilon", "0.1"]

binary, folder = sys.argv[1], Path(sys.argv[2])


def ztilde(*arguments):
    """The output of the binary on stdout."""
    run = subprocess.run([binary, *map(str, arguments)], capture_output=True, encoding="utf-8", cwd=folder)
    if run.returncode != 0:
        sys.exit(f"ztilde {' '.join(map(str, arguments))}: {run.stderr}")
    return run.stdout


def activations():
    """The names that the binary knows."""
    found = re.search(r"--activation .*?possible values: ([^\]]+)\]", ztilde("train", "--help"), re.DOTALL)
    return re.split(r",\s*", found[1])


def write_table(name, columns, target):
    """Rows of numbers and words, some of them missing. The target depends on them."""
    draw = random.Random(name)
    with open(folder / f"{name}.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([f"{kind}, {number}" for number, kind in enumerate(columns)] + [target])
        for _ in range(ROWS):
            cells, score = [], 0.0
            for number, kind in enumerate(columns):
                value = draw.randrange(-64, 65) / 32
                score += math.sin(value * (number + 1))
                cell = {
                    "small": value / 1024,
                    "far": 4096 + value,
                    "seconds": 1_700_000_000 + round(50 * value),
                    "digits": 9_007_199_254_740_992 + 2 * round(32 * value),
                    "huge": f"{value + 3}e150",
                    "tiny": f"{value + 3}e-150",
                    "constant": 2023,
                    "same": "here",
                    "number": value,
                    "word": ["up", "down", "left, or right", "ü"][math.floor(value) % 4],
                    "code": math.floor(value) % 3 * 5,
                }[kind]
                cells.append("" if draw.random() < 0.1 else cell)
            values = {"value": 5000 + 100 * score, "time": 1_700_000_000 + 50 * score}
            kind = CLASSES[sum(score > bound for bound in [-0.5, 0.5])]
            cells.append(values.get(target, kind))
            writer.writerow(cells)


def write_other(name):
    """The same rows, with other values in the constant columns and other spellings of words and codes."""
    draw = random.Random(name)
    with open(folder / f"{name}.csv", newline="") as file:
        header, *rows = csv.reader(file)
    spaces = ["", " ", "  ", "\t", "\u00a0"]
    with open(folder / f"{name}-other.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in rows:
            for place, column in enumerate(header[:-1]):
                match column.split(",")[0]:
                    case "constant":
                        row[place] = draw.choice(["2025", "1e300", "", "-7"])
                    case "same":
                        row[place] = draw.choice(["there", "here", "", " here "])
                    case "word":
                        row[place] = draw.choice(spaces) + row[place] + draw.choice(spaces)
                    case "code" if row[place]:
                        row[place] = draw.choice([" {}", "{}.0", "0{}", "{}e0", "+{}.", "{}\t"]).format(row[place])
            writer.writerow(row)


def predicted(model, table):
    """The header, the texts of a first column of classes if there is one, and all numbers."""
    header, *lines = csv.reader(ztilde("predict", model, table).splitlines())
    is_class = len(header) > 1 and header[1].startswith("probability of ")
    texts = [line[0] for line in lines] if is_class else None
    numbers = [[float(cell) for cell in line[is_class:]] for line in lines]
    return texts, numpy.array(numbers)


def session(model, *options):
    """Exports a model, checks it, and opens it in ONNX Runtime."""
    ztilde("export", model, "--onnx", "model.onnx", *options)
    read = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(read, full_check=True)
    has_batch_norm = any(node.op_type == "BatchNormalization" for node in read.graph.node)
    providers = ["CPUExecutionProvider"]
    opened = onnxruntime.InferenceSession(folder / "model.onnx", providers=providers)
    return opened, {entry.key: entry.value for entry in read.metadata_props}, has_batch_norm


def cells(table, names, convert, missing):
    with open(folder / table, newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        return [[convert(row[name]) if row[name] else missing for name in names] for row in rows]


def answered(opened, remarks, table):
    """The same outputs, computed by ONNX Runtime."""
    feed = {}
    for value in opened.get_inputs():
        if value.name == "inputs":
            with open(folder / table, newline="") as file:
                rows = [list(map(float, row)) for row in csv.reader(file)]
            feed["inputs"] = numpy.array(rows, numpy.float32)
        elif value.name == "numbers":
            numbers = cells(table, json.loads(remarks["numbers"]), float, math.nan)
            feed["numbers"] = numpy.array(numbers, numpy.float64)
        else:
            words = cells(table, json.loads(remarks["categories"]), str, "")
            feed["categories"] = numpy.array(words, object)
    names = [value.name for value in opened.get_outputs()]
    found = dict(zip(names, opened.run(None, feed)))
    texts = list(found["class"]) if "class" in found else None
    numbers = next(found[name] for name in ["probabilities", "values", "outputs"] if name in found)
    return texts, numbers.astype(float)


def difference(model, table, unit, *options):
    """The largest difference. Where the classes differ, two of them must be about equally likely."""
    opened, remarks, has_batch_norm = session(model, *options)
    [texts, numbers], [other_texts, others] = predicted(model, table), answered(opened, remarks, table)
    if numbers.shape != others.shape:
        sys.exit(f"{model}: {numbers.shape} numbers, but {others.shape} in ONNX Runtime")
    largest = float(numpy.max(numpy.abs(numbers - others))) / unit
    for row, (text, other) in enumerate(zip(texts or [], other_texts or [], strict=True)):
        two = sorted(numbers[row])[-2:]
        if text != other and two[1] - two[0] > 2 * BOUND:
            sys.exit(f"{model}, row {row + 1}: {text!r}, but {other!r} in ONNX Runtime")
    return largest, has_batch_norm


def forget_the_table(model, plain):
    """A copy of a model file without the notes of `train` after the first line of its metadata."""
    data = (folder / model).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"]["ztilde"] = header["__metadata__"]["ztilde"].split("\n")[0]
    text = json.dumps(header).encode().ljust(length)
    (folder / plain).write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def main():
    mixed = ["number", "word", "far", "small", "word", "code"]
    far = ["seconds", "digits", "code", "huge", "constant", "tiny", "same", "number"]
    tables = {
        "far": (far, "kind"),
        "times": (far, "time"),
        "classes": (mixed, "kind"),
        "values": (mixed, "value"),
        "words": (["word", "word", "word"], "kind"),
        "numbers": (["far", "number", "small"], "value"),
        "plain": (["number", "number", "number", "number"], "value"),
    }
    print(f"{'model':<34}{'as it is':>12}{'folded':>12}")
    worst = 0.0
    for name, (columns, target) in tables.items():
        write_table(name, columns, target)
        write_other(name)
        table, model = f"{name}.csv", f"{name}.safetensors"
        for activation in activations():
            for is_normalized in [True, False]:
                batch_norm = BATCH_NORM if is_normalized else ["--no-batch-norm"]
                codes = [str(number + 1) for number, kind in enumerate(columns) if kind == "code"]
                categorical = ["--categorical", ",".join(codes)] if codes else []
                is_value = target in ["value", "time"]
                task = ["--task", "regression" if is_value else "classification"]
                options = ["--activation", activation, *batch_norm, *categorical, *task]
                shape = ["--hidden", "16,8", "--epochs", "4", "--learning-rate", "0.01"]
                ztilde("train", table, *options, *shape, "--held-out", "0", "--model", model)
                rows, file, unit = f"{name}-other.csv", model, 1.0
                if is_value:
                    unit = float(numpy.std([row[0] for row in cells(table, [target], float, 0.0)]))
                if name == "plain":
                    forget_the_table(model, file := "forgotten.safetensors")
                    rows, unit = "forgotten.csv", 1.0
                    drawn = numpy.random.default_rng(1).normal(size=(ROWS, len(columns)))
                    numpy.savetxt(folder / rows, drawn.astype(numpy.float32), "%.9g", ",")
                found = [difference(file, rows, unit, *fold) for fold in [[], ["--fold"]]]
                if [has_batch_norm for _, has_batch_norm in found] != [is_normalized, False]:
                    sys.exit(f"{model}: batch normalization is where it should not be, or is not")
                title = f"{name}, {activation}{', batch norm' if is_normalized else ''}"
                print(f"{title:<34}" + "".join(f"{largest:>12.1e}" for largest, _ in found), flush=True)
                worst = max(worst, *(largest for largest, _ in found))
    print(f"the largest difference is {worst:.1e}; {BOUND:.0e} is the bound")
    if not worst <= BOUND:
        sys.exit(1)


main()
