"""Image models with random weights, made by code: no hub, no download."""

import torch

#: Arguments of the classifiers, and the same for ``transformers``' classes.
SMALL = {
    "focalnet": {"embed_dim": 8, "depths": [1, 1, 1, 1]},
    "vit": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "image_size": 64,
    },
}


def small_classifier(name, n_classes=10, **options):
    """A tiny classifier with random weights."""
    from speechbrain_lmac.classifiers import hf_image

    kinds = {
        "focalnet": hf_image.FocalNetClassifier,
        "vit": hf_image.ViTClassifier,
    }
    return kinds[name](n_classes, **{**SMALL[name], **options})


def save_image_model(folder, name):
    """Files of ``transformers`` and a classifier's checkpoints; the folder."""
    import transformers

    torch.manual_seed(7)
    if name == "focalnet":
        config = transformers.FocalNetConfig(**SMALL[name])
        model = transformers.FocalNetForImageClassification(config)
    else:
        config = transformers.ViTConfig(**SMALL[name])
        model = transformers.ViTForImageClassification(config)
    model.save_pretrained(folder)
    for part, module in small_classifier(name).parts().items():
        torch.save(module.state_dict(), folder / f"{part}.ckpt")
    return folder
