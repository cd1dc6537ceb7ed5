// SPDX-License-Identifier: Apache-2.0
// Letting other Python threads run, where it is not known whether this thread has the GIL.
#pragma once

namespace weft::python {

class WithoutGil {
 public:
  WithoutGil();
  ~WithoutGil();
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  void* state_ = nullptr;  ///< of this thread; null: it did not have the GIL
};

}  // namespace weft::python
