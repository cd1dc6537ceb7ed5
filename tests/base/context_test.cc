// SPDX-License-Identifier: Apache-2.0
#include "weft/context.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "base/context_state.h"
#include "base/topology.h"
#include "scoped_env.h"
#include "weft/trace.h"

namespace weft {
namespace {

class ContextTest : public testing::Test {
  const ScopedEnv isa_{"WEFT_ISA", nullptr}, threads_{"WEFT_THREADS", nullptr};
};

TEST_F(ContextTest, DefaultUsesTheWholeMachine) {
  const auto context = Context::create();
  ASSERT_TRUE(context.ok()) << context.status().to_string();
  EXPECT_EQ(context->threads(), std::min(topology().usable_cpus, 1024));
  EXPECT_EQ(context->isa(), isa::names(isa::available()));
}

TEST_F(ContextTest, RanksShareTheCpusAndEachHasOneAtLeast) {
  const int usable = std::min(topology().usable_cpus, 1024);
  EXPECT_EQ(Context::create({.local_ranks = 65536})->threads(), 1);
  EXPECT_EQ(Context::create({.local_ranks = 2})->threads(), std::max(1, usable / 2));
}

TEST_F(ContextTest, ThreadsOptionWinsOverTheEnvironment) {
  const ScopedEnv set("WEFT_THREADS", "3");
  EXPECT_EQ(Context::create()->threads(), 3);
  EXPECT_EQ(Context::create({.local_ranks = 8})->threads(), 3);
  EXPECT_EQ(Context::create({.threads = 2})->threads(), 2);
}

TEST_F(ContextTest, ThreadsRunAndContextsMove) {
  Context context = Context::create({.threads = 3, .isa = "scalar"}).value();
  Context moved(std::move(context));
  EXPECT_EQ(moved.isa(), "scalar");
  EXPECT_EQ(moved.state().isa, isa::kScalar);
  std::atomic<int> calls{0};
  moved.state().pool.parallel_for(50, [&](std::int64_t, int) { ++calls; });
  EXPECT_EQ(calls, 50);
}

TEST_F(ContextTest, PinnedContextWorks) {
  std::thread([] {  // pinning binds the creating thread too
    const auto context =
        Context::create({.threads = 2, .local_ranks = 4, .pin_threads = true, .local_rank = 3});
    ASSERT_TRUE(context.ok());
    std::atomic<int> calls{0};
    context->state().pool.parallel_for(50, [&](std::int64_t, int) { ++calls; });
    EXPECT_EQ(calls, 50);
  })
      .join();
}

std::string error_of(const ContextOptions& options) {
  const auto context = Context::create(options);
  return context.status().to_string();
}

TEST_F(ContextTest, ErrorsNameTheOptionAndBothValues) {
  EXPECT_EQ(error_of({.threads = -1}),
            "invalid argument: Context::create: threads is -1 but must be 0 to 1024");
  EXPECT_EQ(error_of({.threads = 4096}),
            "invalid argument: Context::create: threads is 4096 but must be 0 to 1024");
  EXPECT_EQ(error_of({.local_ranks = 0}),
            "invalid argument: Context::create: local_ranks is 0 but must be 1 to 65536");
  EXPECT_EQ(error_of({.local_ranks = 4, .local_rank = 4}),
            "invalid argument: Context::create: local_rank is 4 but must be 0 to 3");
  EXPECT_EQ(error_of({.isa = "mmx"}),
            "invalid argument: \"mmx\" is not an instruction set weft knows; use one of amx, "
            "scalar, avx2, avx512, avx512vnni, avx512bf16, amxint8, amxbf16");
  const ScopedEnv set("WEFT_THREADS", "two");
  EXPECT_EQ(error_of({}),
            "invalid argument: environment variable WEFT_THREADS is \"two\" but must be a number "
            "from 0 to 1024");
}

TEST(Trace, KindsHaveNamesAndTheClockRises) {
  EXPECT_EQ(to_string(TraceKind::kPackA), "pack");
  EXPECT_EQ(to_string(TraceKind::kGemm), "gemm");
  EXPECT_EQ(to_string(TraceKind::kPublish), "publish");
  EXPECT_EQ(to_string(TraceKind::kWait), "wait");
  EXPECT_EQ(to_string(TraceKind::kReduceNorm), "reduce+norm");
  EXPECT_EQ(to_string(TraceKind::kCopy), "copy");
  const std::int64_t before = trace_now_ns();
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  EXPECT_GE(trace_now_ns() - before, 2'000'000);
}

TEST(Trace, CountsWhatDoesNotFit) {
  Trace trace(2);
  for (int i = 0; i < 5; ++i) trace.add({TraceKind::kGemm, i, -1, 0, 1});
  EXPECT_EQ(trace.events().size() + trace.dropped(), 5u);
  EXPECT_EQ(trace.events().front().tile, 0);
  trace.clear();
  EXPECT_EQ(trace.dropped(), 0u);
  EXPECT_TRUE(trace.events().empty());
}

}  // namespace
}  // namespace weft
