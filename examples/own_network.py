# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A network of one's own, on images of one's own
#
# A small ResNet of torchvision is trained on handwritten digits in plain PyTorch, and measured: under noise, adapted to
# the batch, and under attack. Then its first convolution becomes a CSC-layer, whose lambda is tuned at test time.
# The whole notebook takes less than a minute on a laptop.

# %%
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torchvision.models.resnet import BasicBlock, ResNet

import sdnet_bench
from sdnet_bench.csc import DictionaryProjection, csc_layers, replace_convs

# %% [markdown]
# The images: `(N, 3, H, W)`, floats in [0, 1] of 256 levels, and an integer label for each. A torch `Dataset` would do
# as well.

# %%
digits = load_digits()
images = torch.from_numpy(digits.images).float()[:, None] / 16
images = F.interpolate(images, size=(16, 16), mode="bilinear").repeat(1, 3, 1, 1).mul(255).round() / 255
labels = torch.from_numpy(digits.target)
test, train = slice(0, 300), slice(300, None)


# %%
def fit(net: torch.nn.Module, epochs: int = 3) -> torch.nn.Module:
    """Trains a network in the plain way, and returns it in eval mode."""
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    project = DictionaryProjection(net) if csc_layers(net) else None
    for epoch in range(epochs):
        order = torch.randperm(len(labels[train]), generator=torch.Generator().manual_seed(epoch))
        for batch in order.split(64)[:-1]:
            loss = F.cross_entropy(net.train()(images[train][batch]), labels[train][batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if project:
                project()  # atoms of unit norm, after every step: equation (5) of the paper
    return net.eval()


torch.manual_seed(0)
net = fit(ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10))

# %% [markdown]
# ## Noise
#
# A bench holds a copy of the network, and the images. What it has measured it does not measure again.

# %%
bench = sdnet_bench.Bench(net, data=(images[test], labels[test]), name="plain", progress=False)
bench.evaluate()

# %%
bench.evaluate(["gaussian", "impulse"], severity=[1, 3, 5])

# %% [markdown]
# A control that every defence has to beat: batch norm with the statistics of the test batch.

# %%
bench.evaluate(["gaussian", "impulse"], severity=[1, 3, 5], adapt="bn", batch_size=100)

# %% [markdown]
# ## An attack
#
# PGD within 8/255 of every pixel. `outcomes` has one bool for each image, so that anything can be computed from it.

# %%
attacked = bench.attack("linf", eps=8 / 255, limit=100)
print(f"clean {attacked.clean:.0%}, robust {attacked.accuracy:.0%}, of {len(attacked.outcomes)} images")
attacked

# %% [markdown]
# ## A CSC-layer in the stem
#
# Its first convolution becomes convolutional sparse coding, with the convolution's weights as initial atoms.

# %%
torch.manual_seed(0)
sparse = fit(replace_convs(ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10)))
coded = sdnet_bench.Bench(
    sparse,
    data=(images[test], labels[test]),
    train=(images[train], labels[train]),
    name="sparse",
    progress=False,
)
coded.sweep_lambda("gaussian", severity=[1, 3, 5], lambdas=[0.05, 0.1, 0.2, 0.4, 0.8])

# %%
coded.figure(2)

# %% [markdown]
# Algorithm 1 of the paper fits lambda to the residual on noisy *training* images, and chooses it by the residual of the
# test images.

# %%
coded.fit_lambda("gaussian", lambdas=[0.05, 0.1, 0.2, 0.4, 0.8], limit=200)

# %%
coded.evaluate("gaussian", severity=[1, 3, 5], lambda_="adaptive")

# %% [markdown]
# Both networks beside the paper's figures, which are those of CIFAR-10:

# %%
sdnet_bench.compare([bench, coded]).table(2)
