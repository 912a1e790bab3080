"""The trained models on the golden chip: every prompt of their tasks."""

import pytest

from isa import geometry
from lpu.session import compile_model, golden_answers, integers

# right answers and prompts: in fp16 all, in integers all but some of div
PROMPTS = {"mathformer/add": 100, "mathformer/sub": 100, "mathformer/mul": 100, "mathformer/div": 90}
LEAST_IN_INTEGERS = PROMPTS | {"mathformer/div": 85}
CASES = [(name, precision, least[name]) for name in PROMPTS
         for precision, least in (("fp16", PROMPTS), (integers(name), LEAST_IN_INTEGERS))]


@pytest.mark.parametrize(("name", "precision", "least"), CASES)
def test_all_prompts_of_the_task(name, precision, least):
    compiled = compile_model(name, geometry.named("small"), precision)
    right = dict(compiled.model.task)
    answers = golden_answers(compiled, list(right))
    correct = sum(a.answer == right[a.prompt] for a in answers)
    print(f"{name}: {correct} of {len(answers)} right")
    assert len(answers) == PROMPTS[name]
    assert correct >= least
