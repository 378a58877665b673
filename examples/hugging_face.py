"""Two tasks on one Hugging Face encoder, balanced inside the Trainer's own loop.

The network returns its losses through the engine's boundary, so the Trainer needs nothing but `loss`: accumulation,
clipping, schedules and checkpoints stay as they are. Run it with `python examples/hugging_face.py`; it wants
`transformers` and `accelerate`. The model is tiny and made on the spot: nothing is downloaded.
"""

import tempfile

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertModel, Trainer, TrainingArguments

from trunkline.balancers import UPGrad
from trunkline.engine import Engine

TOKENS, LENGTH = 20, 8
CLASSES = {"first": TOKENS, "even": 2}  # which token stands first, and whether it is even


class TwoTasks(nn.Module):
    """An encoder, two heads, and the engine between them."""

    def __init__(self) -> None:
        super().__init__()
        size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        self.encoder = BertModel(BertConfig(vocab_size=TOKENS, **size), add_pooling_layer=False)
        self.heads = nn.ModuleDict({task: nn.Linear(32, classes) for task, classes in CLASSES.items()})
        self.engine = Engine(UPGrad(), list(CLASSES), level="sketch", every=4)

    def forward(self, input_ids: Tensor, **labels: Tensor) -> dict[str, Tensor]:
        features = self.encoder(input_ids).last_hidden_state[:, 0]
        views = self.engine.split(features)
        logits = {task: head(views[task]) for task, head in self.heads.items()}
        losses = {task: cross_entropy(logits[task], labels[task]) for task in logits}
        return {"loss": self.engine.total(losses), **logits}


def rows(count: int) -> list[dict[str, Tensor]]:
    words = torch.randint(TOKENS, (count, LENGTH))
    return [{"input_ids": row, "first": row[0], "even": (row[0] + 1) % 2} for row in words]


def main(steps: int = 150) -> dict[str, float]:
    torch.manual_seed(0)
    model, test = TwoTasks(), rows(200)
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder, max_steps=steps, per_device_train_batch_size=32, learning_rate=3e-3, report_to=[], use_cpu=True,
            save_strategy="no", logging_steps=50, remove_unused_columns=False, disable_tqdm=True,
        )  # fmt: skip
        Trainer(model=model, args=settings, train_dataset=rows(2000)).train()
    batch = {key: torch.stack([row[key] for row in test]) for key in test[0]}
    with torch.no_grad():
        outputs = model.eval()(**batch)
    accuracy = {task: (outputs[task].argmax(1) == batch[task]).float().mean().item() for task in CLASSES}
    print("accuracy", accuracy)
    return accuracy


if __name__ == "__main__":
    main()
