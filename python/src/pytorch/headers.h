// SPDX-License-Identifier: Apache-2.0
// What every file of this folder includes of PyTorch, compiled once.
#pragma once

#include <ATen/Functions.h>
#include <ATen/core/Tensor.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/utils/pybind.h>
#include <torch/library.h>

#include <torch/csrc/distributed/c10d/Backend.hpp>
