"""What tests/golden/generate.py records: layers, losses, trainings and schedules, in the words of a job spec."""


def layer(kind, name=None, inputs=None, **options):
    names = {key: value for key, value in (("name", name), ("inputs", inputs)) if value is not None}
    return {"type": kind, **names, **options}


def conv(out_channels, kernel_size, **options):
    return layer("Conv2d", out_channels=out_channels, kernel_size=kernel_size, **options)


def transposed(out_channels, kernel_size, **options):
    return layer("ConvTranspose2d", out_channels=out_channels, kernel_size=kernel_size, **options)


RELU, FLATTEN = layer("ReLU"), layer("Flatten")

# name: (layers, shape of the batch)
LAYERS = {
    "linear": ([layer("Linear", out_features=3)], (5, 7)),
    "linear_relu": ([layer("Linear", out_features=20), RELU], (16, 33)),
    "linear_without_bias": ([layer("Linear", out_features=31, bias=False)], (1, 17)),
    "linear_rank3": ([layer("Linear", out_features=6), RELU], (3, 4, 9)),
    "conv": ([conv(4, 3)], (2, 3, 7, 5)),
    "conv_same_relu": ([conv(16, 3, padding="same"), RELU], (2, 16, 6, 6)),
    "conv_same_even": ([conv(3, [4, 2], padding="same", bias=False)], (2, 2, 6, 7)),
    "conv_valid": ([conv(5, 1, padding="valid")], (1, 3, 4, 5)),
    "conv_strided": ([conv(5, [5, 3], stride=[2, 3], padding=[2, 1])], (2, 3, 9, 11)),
    "conv_stride_past_kernel": ([conv(4, 2, stride=[3, 4])], (2, 2, 9, 11)),
    "conv_dilated": ([conv(6, [3, 2], padding=[2, 1], dilation=[2, 3])], (1, 4, 11, 9)),
    "conv_groups": ([conv(9, 3, padding=1, groups=3)], (2, 6, 5, 5)),
    "conv_depthwise": ([conv(8, 3, padding=1, groups=8), RELU], (2, 8, 6, 5)),
    "conv_depthwise_strided": ([conv(10, 3, stride=2, padding=1, groups=5)], (1, 5, 7, 9)),
    "conv_one_channel": ([conv(6, 5, padding=2), RELU], (3, 1, 10, 10)),
    "conv_blocked": ([conv(32, 3, padding=1), RELU, conv(17, 3, stride=2, bias=False)], (2, 16, 9, 7)),
    "transposed": ([transposed(4, 3)], (2, 3, 5, 4)),
    "transposed_stride": ([transposed(5, 3, stride=2, padding=1, output_padding=1), RELU], (2, 8, 5, 7)),
    "transposed_past_kernel": ([transposed(2, [2, 1], stride=[3, 2], output_padding=[2, 0], bias=False)], (1, 3, 4, 5)),
    "transposed_dilated": ([transposed(3, [2, 3], dilation=[3, 2], padding=[1, 2])], (2, 2, 5, 6)),
    "transposed_groups": ([transposed(6, 4, stride=2, padding=1, groups=2)], (1, 4, 3, 5)),
    "transposed_depthwise": ([transposed(6, 3, groups=3)], (2, 3, 4, 4)),
    "transposed_blocked": ([transposed(16, 2, stride=2), RELU, transposed(1, 3, padding=1)], (2, 32, 4, 3)),
    "max_pool": ([layer("MaxPool2d", kernel_size=2)], (2, 3, 6, 8)),
    "max_pool_odd": ([layer("MaxPool2d", kernel_size=2)], (2, 17, 7, 9)),
    "max_pool_overlapping": ([layer("MaxPool2d", kernel_size=3, stride=2, padding=1)], (1, 5, 9, 7)),
    "max_pool_ceil": ([layer("MaxPool2d", kernel_size=[3, 2], stride=[2, 2], padding=[1, 0], ceil_mode=True)],
                      (2, 4, 8, 7)),
    "max_pool_dilated": ([layer("MaxPool2d", kernel_size=[2, 3], stride=1, dilation=[3, 2], padding=[1, 1])],
                         (2, 3, 8, 9)),
    "max_pool_past_kernel": ([layer("MaxPool2d", kernel_size=2, stride=[3, 4])], (2, 2, 11, 12)),
    "avg_pool": ([layer("AvgPool2d", kernel_size=2)], (2, 3, 6, 8)),
    "avg_pool_padded": ([layer("AvgPool2d", kernel_size=3, stride=2, padding=1)], (2, 16, 9, 7)),
    "avg_pool_padding_left_out": ([layer("AvgPool2d", kernel_size=[3, 4], stride=[1, 2], padding=[1, 2],
                                         count_include_pad=False)], (1, 5, 6, 7)),
    "avg_pool_ceil": ([layer("AvgPool2d", kernel_size=3, stride=2, padding=1, ceil_mode=True)], (2, 3, 8, 6)),
    "avg_pool_ceil_left_out": ([layer("AvgPool2d", kernel_size=2, ceil_mode=True, count_include_pad=False)],
                               (1, 2, 5, 7)),
    "avg_pool_past_kernel": ([layer("AvgPool2d", kernel_size=2, stride=[3, 4])], (2, 2, 11, 12)),
    "adaptive_pool": ([layer("AdaptiveAvgPool2d", output_size=[2, 3])], (2, 5, 4, 9)),
    "global_pool": ([layer("GlobalAvgPool2d")], (3, 18, 7, 5)),
    "flatten": ([conv(2, 1), FLATTEN, layer("Linear", out_features=3)], (2, 3, 2, 3)),
    "flatten_start": ([conv(2, 1), layer("Flatten", start_dim=2), layer("Linear", out_features=3)], (2, 3, 2, 3)),
    "reshape": ([conv(4, 1), layer("Reshape", shape=[2, -1]), layer("Linear", out_features=3)], (2, 3, 2, 3)),
    "relu": ([RELU], (3, 67)),
    "leaky_relu": ([layer("LeakyReLU")], (2, 3, 5, 5)),
    "leaky_relu_slope": ([layer("LeakyReLU", negative_slope=0.3)], (3, 5)),
    "gelu": ([layer("GELU")], (4, 67)),
    "gelu_tanh": ([layer("GELU", approximate="tanh")], (4, 67)),
    "silu": ([layer("SiLU")], (4, 67)),
    "sigmoid": ([layer("Sigmoid")], (4, 67)),
    "tanh": ([layer("Tanh")], (4, 67)),
    "activations_behind_conv": ([conv(17, 3), layer("SiLU"), conv(5, 1), layer("GELU"), conv(16, 1), layer("Tanh")],
                                (2, 3, 6, 5)),
    "softmax": ([layer("Softmax")], (5, 13)),
    "softmax_channels": ([layer("Softmax", dim=1)], (2, 5, 3, 4)),
    "softmax_rows": ([layer("Softmax", dim=2)], (1, 3, 7, 5)),
    "log_softmax": ([layer("LogSoftmax")], (5, 13)),
    "log_softmax_channels": ([layer("LogSoftmax", dim=1)], (2, 5, 3, 4)),
    "log_softmax_rows": ([layer("LogSoftmax", dim=-2)], (2, 7, 5)),
    "dropout_of_nothing": ([layer("Linear", out_features=4), layer("Dropout", p=0.0)], (2, 3)),
    "batch_norm1d": ([layer("BatchNorm1d")], (7, 5)),
    "batch_norm1d_rank3": ([layer("BatchNorm1d", eps=1e-3, momentum=0.3)], (4, 6, 9)),
    "batch_norm2d": ([layer("BatchNorm2d")], (3, 5, 4, 7)),
    "batch_norm2d_one_image": ([layer("BatchNorm2d"), RELU], (1, 3, 5, 5)),
    "batch_norm2d_plain": ([layer("BatchNorm2d", affine=False, momentum=1.0)], (2, 4, 3, 3)),
    "batch_norm2d_behind_conv": ([conv(18, 3, bias=False), layer("BatchNorm2d"), RELU, conv(16, 3, padding=1),
                                  layer("BatchNorm2d")], (2, 3, 8, 7)),
    "layer_norm": ([layer("LayerNorm")], (5, 13)),
    "layer_norm_last": ([layer("LayerNorm", normalized_shape=9, eps=1e-3)], (3, 4, 9)),
    "layer_norm_planes": ([layer("LayerNorm", normalized_shape=[3, 5], bias=False)], (2, 4, 3, 5)),
    "layer_norm_images": ([layer("LayerNorm", elementwise_affine=False)], (2, 3, 4, 5)),
    "add": ([conv(4, 3, padding=1, name="a"), conv(4, 1, name="b", inputs=["input"]), layer("Add", inputs=["a", "b"])],
            (2, 3, 5, 4)),
    "add_relu": ([conv(16, 3, padding=1, name="a"), RELU, conv(16, 3, padding=1, name="b"),
                  layer("Add", inputs=["a", "b"]), RELU], (2, 3, 5, 4)),
    "add_three": ([layer("Linear", name="a", out_features=6), layer("Tanh", name="b"),
                   layer("Add", inputs=["b", "input", "a"])], (3, 6)),
    "add_itself": ([layer("Linear", name="a", out_features=6), layer("Add", inputs=["a", "a"])], (3, 5)),
    "concat": ([conv(3, 3, padding=1, name="a"), conv(17, 1, name="b"), RELU, conv(4, 1, name="c"),
                layer("Concat", inputs=["a", "input", "b", "c"])], (2, 5, 4, 3)),
    "concat_rows": ([conv(2, [1, 3], name="a"), conv(2, 3, name="b", inputs=["input"], padding=[3, 0]),
                     layer("Concat", inputs=["a", "b"], dim=2)], (2, 2, 4, 5)),
    "concat_features": ([layer("Linear", name="a", out_features=3), layer("Concat", inputs=["input", "a"], dim=-1),
                         layer("Linear", out_features=2)], (3, 5)),
    "residual_block": ([conv(16, 3, padding=1, stride=2, bias=False, name="a"), layer("BatchNorm2d"), RELU,
                        conv(16, 3, padding=1, bias=False), layer("BatchNorm2d", name="b"),
                        conv(16, 1, stride=2, bias=False, inputs=["input"]), layer("BatchNorm2d", name="c"),
                        layer("Add", inputs=["b", "c"]), RELU, layer("GlobalAvgPool2d"), FLATTEN,
                        layer("Linear", out_features=3)], (4, 8, 8, 6)),
    "dropout": ([layer("Dropout")], (4, 67)),
    "dropout_behind_conv": ([conv(17, 3), layer("Dropout", p=0.2), RELU, conv(5, 1)], (2, 3, 6, 5)),
}

# 50 steps: slow enough that one rounding stays one. The target of a layer is far away, that of a loss is not.
CASE_STEPS = 50
LAYER_OPTIMIZER = {"type": "SGD", "lr": 0.001, "momentum": 0.9}
LOSS_OPTIMIZER = {"type": "SGD", "lr": 0.1, "momentum": 0.9}

# name: (loss, rows, outputs, rows that are ignored); every model is one Linear
LOSSES = {
    "cross_entropy": ({"type": "CrossEntropyLoss"}, 9, 10, ()),
    "cross_entropy_one_row": ({"type": "CrossEntropyLoss"}, 1, 3, ()),
    "cross_entropy_many": ({"type": "CrossEntropyLoss"}, 33, 301, ()),
    "cross_entropy_smoothed": ({"type": "CrossEntropyLoss", "label_smoothing": 0.1}, 7, 13, ()),
    "cross_entropy_ignored": ({"type": "CrossEntropyLoss", "label_smoothing": 0.2}, 8, 5, (0, 3)),
    "cross_entropy_ignored_class": ({"type": "CrossEntropyLoss", "ignore_index": 2}, 8, 5, (1,)),
    "cross_entropy_weighted": ({"type": "CrossEntropyLoss", "weight": [1, 2, 0.5, 0.1, 3]}, 8, 5, (2,)),
    "cross_entropy_all": ({"type": "CrossEntropyLoss", "weight": [1, 2, 0.5, 0.1, 3], "label_smoothing": 0.3,
                           "ignore_index": 1}, 11, 5, (2, 5)),
    "mse": ({"type": "MSELoss"}, 5, 7, ()),
    "mse_one_hot": ({"type": "MSELoss", "target": "one_hot"}, 6, 5, ()),
    "l1": ({"type": "L1Loss"}, 5, 7, ()),
    "smooth_l1": ({"type": "SmoothL1Loss"}, 5, 7, ()),
    "smooth_l1_beta": ({"type": "SmoothL1Loss", "beta": 0.25}, 5, 7, ()),
    "bce": ({"type": "BCEWithLogitsLoss"}, 5, 7, ()),
    "bce_pos_weight": ({"type": "BCEWithLogitsLoss", "pos_weight": [1, 3, 0.2, 0.5, 2], "target": "one_hot"}, 6, 5, ()),
}

NETWORK = [
    conv(4, 3, name="conv", stride=2, padding=1), RELU,
    layer("MaxPool2d", kernel_size=2), FLATTEN, layer("Linear", name="fc", out_features=10),
]

ENTROPY = {"type": "CrossEntropyLoss"}
GROUPS = [{"params": ["conv.*"], "lr": 0.02, "weight_decay": 0.05}, {"params": ["*.bias"], "weight_decay": 0}]


def by_step(kind, **options):
    return {"type": kind, "interval": "step", **options}


# name: what the spec has besides model and data
TRAININGS = {
    "sgd": {"optimizer": {"type": "SGD", "lr": 0.1}},
    "sgd_momentum_decay": {"optimizer": {"type": "SGD", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}},
    "sgd_nesterov": {"optimizer": {"type": "SGD", "lr": 0.05, "momentum": 0.8, "nesterov": True},
                     "scheduler": by_step("StepLR", step_size=6, gamma=0.5)},
    "sgd_dampening": {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9, "dampening": 0.5},
                      "scheduler": by_step("ExponentialLR", gamma=0.9),
                      "loss": {**ENTROPY, "label_smoothing": 0.1}},
    "sgd_groups": {"optimizer": {"type": "SGD", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01,
                                 "param_groups": GROUPS}},
    "sgd_clip_norm": {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}, "clip": {"norm": 0.5}},
    "sgd_clip_value": {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}, "clip": {"value": 0.01}},
    "adam": {"optimizer": {"type": "Adam", "lr": 0.003}},
    "adam_options": {"optimizer": {"type": "Adam", "lr": 0.01, "betas": [0.8, 0.95], "eps": 1e-4,
                                   "weight_decay": 0.1}},
    "adam_groups": {"optimizer": {"type": "Adam", "lr": 0.005, "eps": 1e-4, "param_groups": GROUPS},
                    "clip": {"norm": 0.3}},
    "adamw": {"optimizer": {"type": "AdamW", "lr": 0.003}},
    "adamw_options": {"optimizer": {"type": "AdamW", "lr": 0.01, "betas": [0.8, 0.95], "eps": 1e-6,
                                    "weight_decay": 0.1},
                      "scheduler": by_step("CosineAnnealingLR", T_max=8, eta_min=0.001),
                      "loss": {**ENTROPY, "label_smoothing": 0.1}},
    "adamw_groups": {"optimizer": {"type": "AdamW", "lr": 0.005, "eps": 1e-4, "param_groups": GROUPS},
                     "clip": {"value": 0.02}},
    "rmsprop": {"optimizer": {"type": "RMSprop", "lr": 0.001}},
    "rmsprop_momentum": {"optimizer": {"type": "RMSprop", "lr": 0.001, "momentum": 0.9, "weight_decay": 0.01,
                                       "eps": 1e-3}},
    "rmsprop_centered": {"optimizer": {"type": "RMSprop", "lr": 0.001, "alpha": 0.9, "centered": True, "eps": 1e-2}},
    "rmsprop_all": {"optimizer": {"type": "RMSprop", "lr": 0.001, "alpha": 0.95, "centered": True, "momentum": 0.5,
                                  "eps": 1e-2, "weight_decay": 0.01, "param_groups": GROUPS[1:]},
                    "clip": {"norm": 0.5}},
}

COSINE_STEPS = by_step("CosineAnnealingLR", T_max=7, eta_min=0.01)
STEP_EPOCHS = {"type": "StepLR", "step_size": 2, "gamma": 0.3}

# name: what the spec has of optimizer groups, scheduler and warm-up. 8 epochs of 5 steps each
SCHEDULES = {
    "none": {},
    "step_lr": {"scheduler": STEP_EPOCHS},
    "step_lr_steps": {"scheduler": by_step("StepLR", step_size=3)},
    "exponential": {"scheduler": {"type": "ExponentialLR", "gamma": 0.7}},
    "exponential_steps": {"scheduler": by_step("ExponentialLR", gamma=0.95)},
    "cosine": {"scheduler": {"type": "CosineAnnealingLR"}},
    "cosine_short": {"scheduler": {"type": "CosineAnnealingLR", "T_max": 3, "eta_min": 0.02}},
    "cosine_steps": {"scheduler": COSINE_STEPS},
    "cosine_steps_all": {"scheduler": by_step("CosineAnnealingLR")},
    "groups": {"scheduler": COSINE_STEPS, "groups": True},
    "plateau": {"scheduler": {"type": "ReduceLROnPlateau", "patience": 1}},
    "plateau_options": {"scheduler": {"type": "ReduceLROnPlateau", "patience": 0, "factor": 0.5, "cooldown": 1,
                                      "threshold": 0.05, "threshold_mode": "abs", "min_lr": 0.03}},
    "plateau_accuracy": {"scheduler": {"type": "ReduceLROnPlateau", "patience": 0, "monitor": "accuracy"}},
    "plateau_eps": {"scheduler": {"type": "ReduceLROnPlateau", "patience": 0, "factor": 0.9, "eps": 0.009},
                    "groups": True},
    "warmup": {"warmup": {"total_iters": 7}},
    "warmup_epochs": {"warmup": {"total_iters": 3, "start_factor": 0.1, "interval": "epoch"}},
    "warmup_step_lr": {"warmup": {"total_iters": 2, "interval": "epoch"}, "scheduler": STEP_EPOCHS},
    "warmup_cosine": {"warmup": {"total_iters": 6, "start_factor": 0.2}, "scheduler": COSINE_STEPS, "groups": True},
    "warmup_exponential": {"warmup": {"total_iters": 4, "start_factor": 1.0},
                           "scheduler": by_step("ExponentialLR", gamma=0.9)},
    "warmup_then_epochs": {"warmup": {"total_iters": 8}, "scheduler": STEP_EPOCHS},
    "warmup_then_plateau": {"warmup": {"total_iters": 11}, "scheduler": {"type": "ReduceLROnPlateau", "patience": 0}},
}
SCHEDULE_EPOCHS, SCHEDULE_STEPS = 8, 5
# of each epoch: loss and accuracy of the evaluation
EVALUATIONS = [(2.0, 0.30), (1.5, 0.45), (1.49, 0.46), (1.6, 0.44), (1.49, 0.46), (1.2, 0.50), (1.3, 0.50), (1.4, 0.40)]


def block(name, channels, before, stride=1):
    """A residual block behind the layer `before`, whose channels it changes where stride is not 1."""
    layers = [
        conv(channels, 3, name=f"{name}_a", inputs=[before], stride=stride, padding=1, bias=False),
        layer("BatchNorm2d", name=f"{name}_an"), RELU,
        conv(channels, 3, name=f"{name}_b", padding=1, bias=False), layer("BatchNorm2d", name=f"{name}_bn"),
    ]
    if stride != 1:
        layers += [conv(channels, 1, name=f"{name}_s", inputs=[before], stride=stride, bias=False),
                   layer("BatchNorm2d", name=f"{name}_sn")]
        before = f"{name}_sn"
    return layers + [layer("Add", inputs=[f"{name}_bn", before]), layer("ReLU", name=name)]


# name: whole models, as TRAININGS
MODELS = {
    "lenet": {
        "layers": [conv(6, 5, name="conv1", padding=2), RELU, layer("MaxPool2d", kernel_size=2),
                   conv(16, 5, name="conv2"), RELU, layer("MaxPool2d", kernel_size=2), FLATTEN,
                   layer("Linear", name="fc1", out_features=120), RELU,
                   layer("Linear", name="fc2", out_features=84), RELU, layer("Linear", name="fc3", out_features=10)],
        "optimizer": {"type": "Adam", "lr": 0.001},
    },
    "resnet": {
        "layers": [conv(8, 3, name="stem_a", padding=1, bias=False), layer("BatchNorm2d", name="stem_n"),
                   layer("ReLU", name="stem"), *block("one", 8, "stem"), *block("two", 16, "one", 2),
                   *block("three", 32, "two", 2), layer("GlobalAvgPool2d"), FLATTEN,
                   layer("Linear", name="fc", out_features=10)],
        "optimizer": {"type": "SGD", "lr": 0.02, "momentum": 0.9, "weight_decay": 5e-4},
        "scheduler": by_step("CosineAnnealingLR", T_max=100), "clip": {"norm": 1},
    },
    "autoencoder": {
        # smooth: with ReLU, one element that is zero but for rounding parted two of twelve runs of PyTorch by 3e-4
        "layers": [conv(8, 3, name="down1", stride=2, padding=1), layer("SiLU"),
                   conv(16, 3, name="down2", stride=2, padding=1, bias=False),
                   layer("BatchNorm2d", name="norm"), layer("SiLU"),
                   transposed(8, 3, name="up1", stride=2, padding=1, output_padding=1), layer("SiLU"),
                   transposed(1, 4, name="up2", stride=2, padding=1), layer("Sigmoid")],
        "optimizer": {"type": "Adam", "lr": 0.003}, "loss": {"type": "MSELoss", "target": "input"},
    },
}
