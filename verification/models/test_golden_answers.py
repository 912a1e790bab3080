"""The trained models on the golden chip: every prompt of their tasks."""

import pytest

from isa import geometry
from lpu.session import compile_model, golden_answers

# of all prompts: add, sub and mul all right, div at least 85 of 90
LEAST = {"mathformer/add": (100, 100), "mathformer/sub": (100, 100), "mathformer/mul": (100, 100),
         "mathformer/div": (85, 90)}


@pytest.mark.parametrize("name", LEAST)
def test_all_prompts_of_the_task(name):
    compiled = compile_model(name, geometry.named("small"))
    right, least = dict(compiled.model.task), LEAST[name]
    answers = golden_answers(compiled, list(right))
    correct = sum(a.answer == right[a.prompt] for a in answers)
    print(f"{name}: {correct} of {len(answers)} right")
    assert len(answers) == least[1]
    assert correct >= least[0]
