"""One step along the gradient, as long as the budget allows (Goodfellow et al., 2015)."""

import torch
import torch.nn.functional as F


def fgsm(victim, images, labels, setting, restart):
    images = images.clone().requires_grad_()
    loss = F.cross_entropy(victim(images), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, images)
    directions = {"linf": gradient.sign(), "l2": F.normalize(gradient.flatten(1)).view_as(gradient)}
    return (images + setting.eps * directions[setting.norm]).clamp(0, 1)
