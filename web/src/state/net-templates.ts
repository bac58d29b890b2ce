// Networks to start from. Each brings the loss that it needs.
import type { Json } from '../api/types';

type Layer = { [key: string]: Json };

export interface Template {
  key: 'mlp' | 'lenet' | 'resnet' | 'autoencoder';
  layers: Layer[];
  loss: Layer;
}

const crossEntropy: Layer = { type: 'CrossEntropyLoss' };

function block(name: string, input: string, channels: number, stride: number): Layer[] {
  const conv = (of: string, options: Layer): Layer => ({
    type: 'Conv2d',
    name: `${name}_${of}`,
    out_channels: channels,
    bias: false,
    ...options,
  });
  const same = stride === 1;
  return [
    conv('conv1', { kernel_size: 3, padding: 1, stride, inputs: [input] }),
    { type: 'BatchNorm2d', name: `${name}_bn1` },
    { type: 'ReLU', name: `${name}_relu1` },
    conv('conv2', { kernel_size: 3, padding: 1 }),
    { type: 'BatchNorm2d', name: `${name}_bn2` },
    ...(same
      ? []
      : [
          conv('down', { kernel_size: 1, stride, inputs: [input] }),
          { type: 'BatchNorm2d', name: `${name}_down_bn` },
        ]),
    { type: 'Add', name: `${name}_sum`, inputs: [`${name}_bn2`, same ? input : `${name}_down_bn`] },
    { type: 'ReLU', name: `${name}_out` },
  ];
}

export const templates: Template[] = [
  {
    key: 'mlp',
    loss: crossEntropy,
    layers: [
      { type: 'Flatten' },
      { type: 'Linear', name: 'fc1', out_features: 128 },
      { type: 'ReLU' },
      { type: 'Linear', name: 'fc2', out_features: 64 },
      { type: 'ReLU' },
      { type: 'Linear', name: 'fc3', out_features: 10 },
    ],
  },
  {
    key: 'lenet',
    loss: crossEntropy,
    layers: [
      { type: 'Conv2d', name: 'conv1', out_channels: 6, kernel_size: 5, padding: 2 },
      { type: 'Tanh' },
      { type: 'AvgPool2d', kernel_size: 2 },
      { type: 'Conv2d', name: 'conv2', out_channels: 16, kernel_size: 5 },
      { type: 'Tanh' },
      { type: 'AvgPool2d', kernel_size: 2 },
      { type: 'Flatten' },
      { type: 'Linear', name: 'fc1', out_features: 120 },
      { type: 'Tanh' },
      { type: 'Linear', name: 'fc2', out_features: 84 },
      { type: 'Tanh' },
      { type: 'Linear', name: 'fc3', out_features: 10 },
    ],
  },
  {
    key: 'resnet',
    loss: crossEntropy,
    layers: [
      { type: 'Conv2d', name: 'conv1', out_channels: 16, kernel_size: 3, padding: 1, bias: false },
      { type: 'BatchNorm2d', name: 'bn1' },
      { type: 'ReLU', name: 'relu1' },
      ...block('block1', 'relu1', 16, 1),
      ...block('block2', 'block1_out', 32, 2),
      ...block('block3', 'block2_out', 64, 2),
      { type: 'GlobalAvgPool2d', name: 'pool' },
      { type: 'Flatten' },
      { type: 'Linear', name: 'fc', out_features: 10 },
    ],
  },
  {
    key: 'autoencoder',
    loss: { type: 'MSELoss', target: 'input' },
    layers: [
      { type: 'Conv2d', name: 'enc1', out_channels: 16, kernel_size: 3, stride: 2, padding: 1 },
      { type: 'ReLU' },
      { type: 'Conv2d', name: 'enc2', out_channels: 32, kernel_size: 3, stride: 2, padding: 1 },
      { type: 'ReLU' },
      { type: 'Flatten' },
      { type: 'Linear', name: 'code', out_features: 32 },
      { type: 'Linear', name: 'expand', out_features: 1568 },
      { type: 'ReLU' },
      { type: 'Reshape', shape: [32, 7, 7] },
      {
        type: 'ConvTranspose2d',
        name: 'dec1',
        out_channels: 16,
        kernel_size: 3,
        stride: 2,
        padding: 1,
        output_padding: 1,
      },
      { type: 'ReLU' },
      {
        type: 'ConvTranspose2d',
        name: 'dec2',
        out_channels: 1,
        kernel_size: 3,
        stride: 2,
        padding: 1,
        output_padding: 1,
      },
      { type: 'Sigmoid' },
    ],
  },
];

/** What a spec must have besides a model, for who starts with a network. */
export const startSpec: Layer = {
  name: 'my-network',
  model: { layers: [] },
  data: { dataset: 'fashion-mnist', batch_size: 64 },
  loss: crossEntropy,
  optimizer: { type: 'AdamW', lr: 0.001 },
  epochs: 3,
};

/** What each kind of layer needs to be at all. */
export const startOptions: Record<string, Layer> = {
  Linear: { out_features: 64 },
  Conv2d: { out_channels: 16, kernel_size: 3, padding: 1 },
  ConvTranspose2d: { out_channels: 16, kernel_size: 2, stride: 2 },
  MaxPool2d: { kernel_size: 2 },
  AvgPool2d: { kernel_size: 2 },
  AdaptiveAvgPool2d: { output_size: 1 },
  Reshape: { shape: [-1] },
};
