// SPDX-License-Identifier: Apache-2.0
// Allocation, copies, fills.
#include <cstdint>
#include <cstring>
#include <vector>

#include "check.h"

namespace weft::cann {
namespace {

class MemoryTest : public RuntimeTest {
 protected:
  void SetUp() override {
    RuntimeTest::SetUp();
    ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  }
};

constexpr auto kHuge = ACL_MEM_MALLOC_HUGE_FIRST;
constexpr auto kToDevice = ACL_MEMCPY_HOST_TO_DEVICE;

TEST_F(MemoryTest, IsAlignedAndFreedOnce) {
  for (size_t size : {1, 31, 64, 4096, (1 << 21) - 32, (1 << 21) - 96, 5 << 20}) {
    for (auto allocate : {aclrtMalloc, aclrtMallocAlign32, aclrtMallocCached}) {
      void* memory = nullptr;
      ASSERT_EQ(allocate(&memory, size, kHuge), ACL_SUCCESS) << text();
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % 64, 0u);
      std::memset(memory, 1, size + 32);  // 32 bytes more belong to the block
      EXPECT_EQ(aclrtFree(memory), ACL_SUCCESS);
      EXPECT_EQ(aclrtFree(memory), ACL_ERROR_RT_PARAM_INVALID);
    }
  }
}

TEST_F(MemoryTest, AllocationErrors) {
  void* memory = nullptr;
  EXPECT_EQ(aclrtMalloc(nullptr, 8, kHuge), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtMalloc(&memory, 0, kHuge), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtMalloc(&memory, SIZE_MAX, kHuge), ACL_ERROR_RT_MEMORY_ALLOCATION);
  EXPECT_EQ(aclrtMalloc(&memory, SIZE_MAX / 8, kHuge), ACL_ERROR_RT_MEMORY_ALLOCATION);
  EXPECT_EQ(aclrtMalloc(&memory, 8, static_cast<aclrtMemMallocPolicy>(8)),
            ACL_ERROR_RT_INVALID_MALLOC_TYPE);
  EXPECT_EQ(memory, nullptr);
  EXPECT_EQ(aclrtMalloc(&memory, 8,
                        static_cast<aclrtMemMallocPolicy>(ACL_MEM_MALLOC_NORMAL_ONLY |
                                                          ACL_MEM_TYPE_HIGH_BAND_WIDTH)),
            ACL_SUCCESS);
  EXPECT_EQ(aclrtFreeHost(memory), ACL_ERROR_RT_PARAM_INVALID);  // device memory
  EXPECT_EQ(aclrtFree(static_cast<char*>(memory) + 1), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtFree(memory), ACL_SUCCESS);
  EXPECT_EQ(aclrtFree(nullptr), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtFreeHost(nullptr), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtMallocHost(nullptr, 8), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtMallocHost(&memory, 0), ACL_ERROR_INVALID_PARAM);
  ASSERT_EQ(aclrtMallocHost(&memory, 8), ACL_SUCCESS);
  EXPECT_EQ(aclrtFreeHost(memory), ACL_SUCCESS);
  EXPECT_EQ(aclrtFreeHost(memory), ACL_ERROR_RT_PARAM_INVALID);
}

TEST_F(MemoryTest, CopyChecksItsArguments) {
  char from[8] = "abcdefg", to[8] = {};
  EXPECT_EQ(aclrtMemcpy(nullptr, 0, nullptr, 0, kToDevice), ACL_SUCCESS);
  EXPECT_EQ(aclrtMemcpy(nullptr, 8, from, 8, kToDevice), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtMemcpy(to, 8, nullptr, 8, kToDevice), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtMemcpy(to, 7, from, 8, kToDevice), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(to[0], 0);
  for (int kind = 0; kind < 8; ++kind) {
    std::memset(to, 0, sizeof(to));
    EXPECT_EQ(aclrtMemcpy(to, 8, from, 7, static_cast<aclrtMemcpyKind>(kind)), ACL_SUCCESS);
    EXPECT_STREQ(to, "abcdefg");
  }
  void* memory = nullptr;
  ASSERT_EQ(aclrtMalloc(&memory, 100, kHuge), ACL_SUCCESS);
  std::vector<char> large(4096);
  EXPECT_EQ(aclrtMemcpy(memory, 4096, large.data(), 4096, kToDevice), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtMemcpy(large.data(), 4096, memory, 4096, kToDevice), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtMemset(memory, 4096, 0, 4096), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtMemset(memory, 3, 0, 4), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtMemset(nullptr, 4, 0, 4), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtMemset(memory, 100, 0x5a, 100), ACL_SUCCESS);
  EXPECT_EQ(static_cast<char*>(memory)[99], 0x5a);
  EXPECT_EQ(aclrtFree(memory), ACL_SUCCESS);
}

TEST_F(MemoryTest, RowsKeepWhatIsBetweenThem) {
  const char from[] = "abc..def..ghi";
  char to[16] = "---------------";
  EXPECT_EQ(aclrtMemcpy2d(to, 4, from, 5, 3, 3, kToDevice), ACL_SUCCESS);
  EXPECT_STREQ(to, "abc-def-ghi----");
  EXPECT_EQ(aclrtMemcpy2d(to, 2, from, 5, 3, 3, kToDevice), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtMemcpy2d(to, 4, from, 2, 3, 3, kToDevice), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtMemcpy2d(to, SIZE_MAX, from, 5, 3, 3, kToDevice), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtMemcpy2d(nullptr, 4, from, 5, 3, 3, kToDevice), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtMemcpy2d(nullptr, 4, nullptr, 5, 0, 3, kToDevice), ACL_SUCCESS);
  EXPECT_EQ(aclrtMemcpy2dAsync(nullptr, 4, nullptr, 5, 3, 0, kToDevice, nullptr), ACL_SUCCESS);
  char later[16] = "---------------";
  EXPECT_EQ(aclrtMemcpy2dAsync(later, 4, from, 5, 3, 3, kToDevice, nullptr), ACL_SUCCESS);
  EXPECT_EQ(aclrtSynchronizeStream(nullptr), ACL_SUCCESS);
  EXPECT_STREQ(later, "abc-def-ghi----");
}

TEST_F(MemoryTest, AsynchronousFormsKeepTheOrder) {
  std::vector<char> a(1 << 20), b(1 << 20), c(1 << 20);
  EXPECT_EQ(aclrtMemsetAsync(a.data(), a.size(), 7, a.size(), nullptr), ACL_SUCCESS);
  EXPECT_EQ(aclrtMemcpyAsync(b.data(), b.size(), a.data(), a.size(), kToDevice, nullptr),
            ACL_SUCCESS);
  EXPECT_EQ(aclrtMemsetAsync(a.data(), a.size(), 9, a.size(), nullptr), ACL_SUCCESS);
  EXPECT_EQ(aclrtMemcpyAsync(c.data(), c.size(), b.data(), b.size(), kToDevice, nullptr),
            ACL_SUCCESS);
  EXPECT_EQ(aclrtSynchronizeStream(nullptr), ACL_SUCCESS);
  EXPECT_EQ(c, std::vector<char>(1 << 20, 7));
  EXPECT_EQ(a, std::vector<char>(1 << 20, 9));
  EXPECT_EQ(aclrtMemcpyAsync(b.data(), 3, a.data(), 4, kToDevice, nullptr),
            ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtMemcpyAsync(b.data(), 4, nullptr, 4, kToDevice, nullptr), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtMemcpyAsync(nullptr, 0, nullptr, 0, kToDevice, nullptr), ACL_SUCCESS);
  EXPECT_EQ(aclrtMemsetAsync(a.data(), 3, 1, 4, nullptr), ACL_ERROR_RT_PARAM_INVALID);
}

TEST(Memory, FinalizeFreesAll) {
  ASSERT_EQ(aclInit(nullptr), ACL_SUCCESS);
  ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  void* memory = nullptr;
  ASSERT_EQ(aclrtMalloc(&memory, 8, kHuge), ACL_SUCCESS);
  ASSERT_EQ(aclrtMallocHost(&memory, 8), ACL_SUCCESS);
  EXPECT_EQ(Runtime::instance().counts().device_blocks, 1u);
  EXPECT_EQ(aclFinalize(), ACL_SUCCESS);
  EXPECT_EQ(Runtime::instance().counts().device_blocks, 0u);
  EXPECT_EQ(Runtime::instance().counts().host_blocks, 0u);
  EXPECT_EQ(aclrtFreeHost(memory), ACL_ERROR_RT_PARAM_INVALID);
}

}  // namespace
}  // namespace weft::cann
