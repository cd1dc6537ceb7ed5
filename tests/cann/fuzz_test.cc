// SPDX-License-Identifier: Apache-2.0
// Random sequences of calls, legal and not, from one thread and from several: every code is a known
// one, and nothing crashes or hangs. A failure prints the seed.
#include <pthread.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "aclnn_calls.h"
#include "base/memory.h"
#include "communicator.h"
#include "fuzz_moe.h"
#include "hccl/hccl.h"

namespace weft::cann {
namespace {

/// Handles that exist, existed, or never did; shared by the threads.
class Pool {
 public:
  void add(void* handle) {
    const std::lock_guard lock(mutex_);
    handles_.push_back(handle);
  }
  void* any(std::mt19937_64& random) {
    const std::lock_guard lock(mutex_);
    switch (random() % 8) {
      case 0:
        return nullptr;
      case 1:
        return &mutex_;
      case 2:
        return reinterpret_cast<void*>(random());
      default:
        return handles_.empty() ? nullptr : handles_[random() % handles_.size()];
    }
  }

  /// One of the last that were made.
  void* recent(std::mt19937_64& random) {
    const std::lock_guard lock(mutex_);
    const std::size_t most = std::min<std::size_t>(handles_.size(), 4);
    return most == 0 ? nullptr : handles_[handles_.size() - 1 - random() % most];
  }
  /// All that were made.
  std::vector<void*> all() const { return handles_; }

 private:
  std::mutex mutex_;
  std::vector<void*> handles_;
};

/// What tasks write to: each its own place, which outlives the runtime.
class Places {
 public:
  static constexpr std::size_t kBytes = 64;
  char* next() {
    const std::lock_guard lock(mutex_);
    return places_.emplace_back().data();
  }

 private:
  std::mutex mutex_;
  std::deque<std::array<char, kBytes>> places_;
};

/// Operands of operators; they outlive the runtime, too.
class Operands {
 public:
  void* next(std::int64_t bytes) {
    const std::lock_guard lock(mutex_);
    return operands_.emplace_back(static_cast<std::size_t>(bytes)).data();
  }

 private:
  std::mutex mutex_;
  std::deque<std::vector<std::byte>> operands_;
};

struct World {
  Pool handles, memory, communicators;
  Places places;
  Operands operands;
  std::vector<std::string> groups;
};

/// A communicator of one rank on each of some devices, and one of two whose calls never meet.
class Members {
 public:
  explicit Members(World& world) {
    for (int device = 0; device < 4; ++device) {
      EXPECT_EQ(aclrtSetDevice(device), ACL_SUCCESS);
      add(world, std::move(Group::local(1).value()));
    }
    add(world, std::move(Group::local(2, {.exec_timeout_s = 0.01}).value()));
  }
  ~Members() {
    for (void* handle : handles_) Communicators::instance().take(handle);
  }
  Members(const Members&) = delete;
  Members& operator=(const Members&) = delete;

 private:
  void add(World& world, std::vector<Group> groups) {
    world.groups.push_back(groups[0].name());
    handles_.push_back(Communicators::instance().add(
        std::make_shared<Communicator>(Runtime::instance().current()->device, std::move(groups[0]),
                                       Context::create({.threads = 1}).value())));
  }
  std::vector<void*> handles_;
};

bool known(int code) {
  static const std::set<int> codes = {ACL_SUCCESS,
                                      ACL_ERROR_INVALID_PARAM,
                                      ACL_ERROR_UNINITIALIZE,
                                      ACL_ERROR_REPEAT_INITIALIZE,
                                      ACL_ERROR_REPEAT_FINALIZE,
                                      ACL_ERROR_WAIT_CALLBACK_TIMEOUT,
                                      ACL_ERROR_RT_PARAM_INVALID,
                                      ACL_ERROR_RT_INVALID_DEVICEID,
                                      ACL_ERROR_RT_CONTEXT_NULL,
                                      ACL_ERROR_RT_STREAM_CONTEXT,
                                      ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID,
                                      ACL_ERROR_RT_EVENT_TIMESTAMP_REVERSAL,
                                      ACL_ERROR_RT_STREAM_SUBSCRIBE,
                                      ACL_ERROR_RT_THREAD_SUBSCRIBE,
                                      ACL_ERROR_RT_STREAM_NO_CB_REG,
                                      ACL_ERROR_RT_INVALID_HANDLE,
                                      ACL_ERROR_RT_INVALID_MALLOC_TYPE,
                                      ACL_ERROR_RT_SYSPARAMOPT_NOT_SET,
                                      ACL_ERROR_RT_STREAM_ABORT,
                                      ACL_ERROR_RT_WAIT_TIMEOUT,
                                      ACL_ERROR_RT_NO_STREAM_RESOURCE,
                                      ACL_ERROR_RT_MEMORY_ALLOCATION,
                                      ACL_ERROR_RT_STREAM_SYNC_TIMEOUT,
                                      ACL_ERROR_RT_EVENT_SYNC_TIMEOUT,
                                      ACL_ERROR_RT_AICORE_TIMEOUT,
                                      ACL_ERROR_RT_AICORE_EXCEPTION,
                                      ACL_ERROR_RT_AICPU_EXCEPTION,
                                      HCCL_E_PARA,
                                      HCCL_E_PTR,
                                      HCCL_E_NOT_SUPPORT,
                                      HCCL_E_NOT_FOUND,
                                      HCCL_E_TIMEOUT,
                                      HCCL_E_OPEN_FILE_FAILURE,
                                      HCCL_E_RUNTIME,
                                      HCCL_E_AGAIN,
                                      ACLNN_ERR_RUNTIME_ERROR,
                                      ACLNN_ERR_INNER,
                                      ACLNN_ERR_INNER_TILING_ERROR,
                                      ACLNN_ERR_INNER_NOT_TRANS_EXECUTOR,
                                      ACLNN_ERR_PARAM_NULLPTR,
                                      ACLNN_ERR_PARAM_INVALID,
                                      ACLNN_ERR_INNER_NULLPTR};
  return codes.contains(code);
}

class Caller {
 public:
  Caller(World& world, std::uint64_t seed) : world_(world), random_(seed) {}

  int call() {
    switch (random_() % 70) {
      case 0:
        return aclrtSetDevice(random_() % 2 ? small(3) : small(18) - 1);
      case 1:
        return aclrtResetDevice(small(18) - 1);
      case 2:
        return kept(aclrtCreateContext(&made_, small(17)));
      case 3:
        return random_() % 8 ? ACL_SUCCESS : aclrtDestroyContext(handle());
      case 4:
        return aclrtSetCurrentContext(handle());
      case 5:
        return kept(aclrtCreateStream(&made_));
      case 6:
        return aclrtDestroyStream(handle());
      case 7:
        return aclrtDestroyStreamForce(handle());
      case 8:
        return aclrtSynchronizeStreamWithTimeout(handle(), small(5) - 2);
      case 9:
        return aclrtSynchronizeStream(handle());
      case 10:
        return aclrtStreamAbort(handle());
      case 11:
        return random_() % 16 ? ACL_SUCCESS : aclrtSetStreamFailureMode(handle(), small(3));
      case 12:
        return kept(aclrtCreateEvent(&made_));
      case 13:
        return kept(aclrtCreateEventWithFlag(&made_, static_cast<uint32_t>(small(12))));
      case 14:
        return aclrtDestroyEvent(handle());
      case 15:
      case 16:
        return aclrtRecordEvent(handle(), handle());
      case 17:
        return aclrtStreamWaitEvent(handle(), handle());
      case 18:
        return aclrtSynchronizeEventWithTimeout(handle(), small(4) - 2);
      case 19:
        return aclrtQueryEventStatus(handle(), maybe(&recorded_));
      case 20:
        return aclrtEventElapsedTime(maybe(&ms_), handle(), handle());
      case 21:
        return aclrtStreamQuery(handle(), maybe(&status_));
      case 22:
        return allocate();
      case 23:
        return aclrtFree(world_.memory.any(random_));
      case 24:
        return aclrtFreeHost(world_.memory.any(random_));
      case 25:
      case 26:
        return aclrtMemsetAsync(world_.places.next(), Places::kBytes, 1, random_() % 80, handle());
      case 27:
        return aclrtMemcpyAsync(world_.places.next(), Places::kBytes, kFrom, random_() % 80,
                                static_cast<aclrtMemcpyKind>(small(8)), handle());
      case 28:
        return aclrtMemcpy(world_.places.next(), Places::kBytes, kFrom, random_() % 80,
                           static_cast<aclrtMemcpyKind>(small(8)));
      case 29:
        return task();
      case 30:
        return aclrtLaunchHostFunc(handle(), maybe(+[](void*) {}), nullptr);
      case 31:
        return aclrtSubscribeReport(thread(), handle());
      case 32:
        return aclrtUnSubscribeReport(thread(), handle());
      case 33:
        return aclrtLaunchCallback(maybe(+[](void*) {}), nullptr,
                                   static_cast<aclrtCallbackBlockType>(0), handle());
      case 34:
        return aclrtProcessReport(small(3) - 1 < 0 ? 0 : 1);
      case 35:
        return tensor();
      case 36:
        return aclDestroyTensor(static_cast<aclTensor*>(handle()));
      case 37:
        return aclGetViewOffset(static_cast<aclTensor*>(handle()), maybe(&offset_));
      case 38:
        return aclDestroyAclOpExecutor(static_cast<aclOpExecutor*>(handle()));
      case 39:
        return aclSetAclOpExecutorRepeatable(static_cast<aclOpExecutor*>(handle()));
      case 40:
        return second_phase(any_op(), maybe(kFrom), random_() % 8 ? sizeof(kFrom) : 0, handle());
      case 41:
        return aclrtSynchronizeDeviceWithTimeout(small(4) - 2);
      case 42:
        return communicate();
      case 43:
        return random_() % 4 ? ACL_SUCCESS : HcclCommDestroy(communicator());
      case 44:
        return about_a_communicator();
      default:
        return random_() % 4 ? collective() : operator_call();
    }
  }

 private:
  int small(int end) { return static_cast<int>(random_() % static_cast<unsigned>(end)); }
  void* handle() { return world_.handles.any(random_); }
  template <typename T>
  T* maybe(T* pointer) {
    return random_() % 8 ? pointer : nullptr;
  }
  static std::uint64_t thread() { return static_cast<std::uint64_t>(pthread_self()); }
  int kept(int code) {
    if (code == ACL_SUCCESS) world_.handles.add(made_);
    return code;
  }
  int allocate() {
    void* memory = nullptr;
    const int code = random_() % 2 ? aclrtMallocHost(&memory, random_() % 100)
                                   : aclrtMalloc(&memory, random_() % 100,
                                                 static_cast<aclrtMemMallocPolicy>(small(9)));
    if (code == ACL_SUCCESS) world_.memory.add(memory);
    return code;
  }
  int task() {
    int code = ACL_SUCCESS;
    const StreamRef stream = Runtime::instance().find_stream(handle(), code);
    if (!stream) return code;
    const bool fails = random_() % 8 == 0;
    return stream->stream
        .submit([fails] { return fails ? Status(StatusCode::kTimeout, "fuzz") : Status(); })
        .code;
  }
  void* communicator() { return random_() % 16 ? world_.communicators.any(random_) : handle(); }
  template <typename Enum>
  Enum any(int end) {
    const int number = small(end);
    Enum value;
    std::memcpy(&value, &number, sizeof value);
    return value;
  }
  int communicate() {
    std::array<HcclComm, 3> made{};
    HcclRootInfo info{};
    HcclCommConfig config;
    HcclCommConfigInit(&config);
    int code = HCCL_SUCCESS;
    switch (random_() % 4) {
      case 0: {  // alone, or with ranks that do not come
        if (random_() % 4) HcclGetRootInfo(&info);
        const auto ranks = static_cast<uint32_t>(small(8) ? 1 : small(4));
        code = HcclCommInitRootInfoConfig(ranks, maybe(&info), static_cast<uint32_t>(small(2)),
                                          maybe(&config), &made[0]);
        break;
      }
      case 1: {
        HcclComm parent = communicator();
        uint32_t member[] = {static_cast<uint32_t>(small(3))};
        code = HcclCreateSubCommConfig(&parent, 1, maybe(member), random_() % 3, 0, maybe(&config),
                                       &made[0]);
        break;
      }
      case 2:
        code = HcclCommInitClusterInfo(maybe("/no/such/file"), 0, &made[0]);
        break;
      default: {
        std::array<int32_t, 3> devices{small(4) - 1, small(17), small(5)};
        code = HcclCommInitAll(static_cast<uint32_t>(small(4)), devices.data(), made.data());
      }
    }
    for (HcclComm comm : made)
      if (code == HCCL_SUCCESS && comm) world_.communicators.add(comm);
    return code;
  }
  int about_a_communicator() {
    std::array<char, COMM_NAME_MAX_LENGTH> name{};
    uint32_t number = 0;
    HcclResult error = HCCL_SUCCESS;
    switch (random_() % 4) {
      case 0:
        return HcclGetRankId(communicator(), maybe(&number));
      case 1:
        return HcclGetRankSize(communicator(), maybe(&number));
      case 2:
        return HcclGetCommAsyncError(communicator(), maybe(&error));
      default:
        HcclGetCommName(communicator(), name.data());
        return HcclCommGetHandleWithName(maybe(name.data()), &made_);
    }
  }
  std::uint64_t too_many() { return random_() | std::uint64_t{1} << 63; }
  // At most 64 bytes for three ranks, in one place for each buffer.
  int collective() {
    char* const send = maybe(world_.places.next());
    char* const recv = random_() % 8 ? world_.places.next() : send;
    const auto count = random_() % 32 ? random_() % 3 : too_many();
    const auto type = any<HcclDataType>(random_() % 8 ? 12 : 256);
    const auto op = any<HcclReduceOp>(random_() % 8 ? 4 : 256);
    const auto root = static_cast<uint32_t>(small(3));
    std::array<uint64_t, 9> counts{}, displacements{};
    for (uint64_t& each : counts) each = random_() % 64 ? 1 : too_many();
    for (uint64_t& each : displacements) each = random_() % 64 ? random_() % 4 : too_many();
    uint64_t* const some = maybe(counts.data());
    HcclSendRecvItem items[] = {
        {any<HcclSendRecvType>(3), send, count, type, static_cast<uint32_t>(small(3))},
        {any<HcclSendRecvType>(2), recv, count, type, static_cast<uint32_t>(small(2))}};
    HcclComm const comm = communicator();
    aclrtStream const stream = random_() % 4 ? nullptr : handle();
    switch (random_() % 16) {
      case 0:
        return HcclReduce(send, recv, count, type, op, root, comm, stream);
      case 1:
        return HcclReduceScatter(send, recv, count, type, op, comm, stream);
      case 2:
        return HcclReduceScatterV(send, some, displacements.data(), recv, 1, type, op, comm,
                                  stream);
      case 3:
        return HcclAllGather(send, recv, count, type, comm, stream);
      case 4:
        return HcclAllGatherV(send, 1, recv, some, displacements.data(), type, comm, stream);
      case 5:
        return HcclBroadcast(recv, count, type, root, comm, stream);
      case 6:
        return HcclScatter(send, recv, count, type, root, comm, stream);
      case 7:
        return HcclSend(send, count, type, root, comm, stream);
      case 8:
        return HcclRecv(recv, count, type, root, comm, stream);
      case 9:
        return HcclBatchSendRecv(maybe(items), static_cast<uint32_t>(small(3)), comm, stream);
      case 10:
        return HcclAlltoAll(send, count, type, recv, count, type, comm, stream);
      case 11:
        return HcclAlltoAllV(send, some, displacements.data(), type, recv, counts.data(),
                             displacements.data(), type, comm, stream);
      case 12:
        return HcclAlltoAllVC(send, some, type, recv, type, comm, stream);
      case 13:
        return HcclBarrier(comm, stream);
      default:
        return HcclAllReduce(send, recv, count, type, op, comm, stream);
    }
  }
  int tensor() {
    const int64_t dims[] = {small(4), small(4)};
    aclTensor* made = aclCreateTensor(maybe(dims), 2, ACL_FLOAT, nullptr, small(3), ACL_FORMAT_ND,
                                      maybe(dims), 2, nullptr);
    if (made) world_.handles.add(made);
    return ACL_SUCCESS;
  }

  std::string any_op() {
    static const std::vector<std::string> ops = entry_points();
    return ops[random_() % ops.size()];
  }
  int second_phase(const std::string& op, const void* workspace, uint64_t size, void* executor) {
    return cann::second_phase(op, const_cast<void*>(workspace), size,
                              static_cast<aclOpExecutor*>(executor),
                              random_() % 4 ? nullptr : handle());
  }
  std::int64_t extent(std::int64_t usual) {
    constexpr std::int64_t kOthers[] = {0, 1, 2, 3, 16, 31, 64, -1};
    return random_() % 24 ? usual : kOthers[random_() % std::size(kOthers)];
  }
  /// Mostly what some operator takes.
  Described operand(int dtype, Dims dims) {
    Described d;
    for (std::int64_t& dim : dims) dim = extent(dim);
    if (random_() % 32 == 0) dims.push_back(1);
    if (random_() % 32 == 0) dims.clear();
    if (random_() % 24 == 0) dtype = static_cast<int>(random_() % 40);
    std::memcpy(&d.dtype, &dtype, sizeof(dtype));
    // Room for eight bytes each, and for the image of a weight.
    std::int64_t elements = 1, padded = 1;
    for (std::size_t i = 0; i < dims.size(); ++i) {
      elements *= std::max<std::int64_t>(dims[i], 0);
      padded *= i + 2 < dims.size() ? std::max<std::int64_t>(dims[i], 0)
                                    : round_up(std::max<std::int64_t>(dims[i], 0), 32);
    }
    if (dims.size() == 2 && random_() % 8 == 0) d.strides = {1, dims[0]};
    if (dims.size() == 2 && random_() % 8 == 0) {
      d.format = ACL_FORMAT_FRACTAL_NZ;
      d.storage = {(dims[1] + 31) / 32, (dims[0] + 15) / 16, 16, 32};
    }
    d.dims = std::move(dims);
    if (random_() % 64) d.data = world_.operands.next(8 * elements + 2 * padded + 64);
    if (random_() % 64 == 0) d.handle = static_cast<const aclTensor*>(handle());
    return d;
  }
  EntryCall entry_call() {
    static constexpr int kDtypes[] = {ACL_FLOAT16, ACL_BF16, ACL_INT8, ACL_FLOAT};
    EntryCall call;
    call.op = any_op();
    const bool quant = call.op.find("Quant") != std::string::npos;
    const bool weight = call.op.find("Weight") != std::string::npos;
    const bool scatter = call.op.find("Scatter") != std::string::npos;
    const int io = random_() % 8 ? ACL_FLOAT16 : kDtypes[random_() % 4];
    const int factor = quant && !weight ? ACL_INT8 : io;
    const std::int64_t m = 1 + small(4), k = scatter ? 256 : 8, n = 8;
    auto& t = call.tensors;
    t["x1"] = operand(factor, {m, k});
    t["x2"] = operand(quant ? ACL_INT8 : io, {k, n});
    if (random_() % 2) t["bias"] = operand(factor == ACL_INT8 ? ACL_INT32 : io, {n});
    if (random_() % 2) t["x3"] = operand(io, {m, n});
    t["dequantScale"] = operand(ACL_UINT64, {n});
    t["antiquantScale"] = operand(io, {n});
    t["output"] = operand(io, {m, n});
    t["gamma"] = operand(io, {n});
    for (const char* name : {"residual", "y", "normOut"}) t[name] = operand(io, {1, m, n});
    for (const char* name : {"yOut", "xOut"}) t[name] = operand(io, {m, k});
    t["rstdOut"] = operand(ACL_FLOAT, {m, 1});
    if (call.op == "aclnnAddRmsNorm") t["x2"] = operand(io, {m, k});
    if (call.op == "aclnnAddRmsNorm") t["gamma"] = operand(io, {k});
    t["scale"] = operand(ACL_FLOAT, {n});
    if (random_() % 2) t["offset"] = operand(ACL_FLOAT, {n});
    t["out"] = operand(ACL_UINT64, {n});
    t["mmWeightRef"] = operand(ACL_INT8, {16, 32});
    call.group = random_() % 32 ? world_.groups[random_() % world_.groups.size()].c_str() : "none";
    if (random_() % 32 == 0) call.reduce_op = maybe("max");
    if (random_() % 32 == 0) call.stream_mode = small(3);
    if (random_() % 32 == 0) call.comm_turn = small(3);
    if (random_() % 32 == 0) call.antiquant_group_size = 32;
    if (random_() % 32 == 0) call.epsilon = 2;
    return call;
  }
  /// Dense, or of two experts that share four rows.
  void describe_ffn(EntryCall& call) {
    const int kind = small(3);  // float, int8, restored weights
    const int io = random_() % 4 ? ACL_FLOAT16 : ACL_BF16, factor = kind == 1 ? ACL_INT8 : io;
    const int bias = kind == 1 ? ACL_INT32 : io == ACL_BF16 ? ACL_FLOAT : io;
    const bool experts = random_() % 2;
    const auto of = [&](Dims dims) {
      if (experts) dims.insert(dims.begin(), 2);
      return dims;
    };
    auto& t = call.tensors;
    t.clear();
    t["x"] = operand(factor, {4, 8});
    t["weight1"] = operand(kind == 2 ? ACL_INT8 : factor, of({8, 6}));
    t["weight2"] = operand(kind == 2 ? ACL_INT8 : factor, of({6, 8}));
    if (random_() % 2) t["bias1"] = operand(bias, of({6}));
    if (random_() % 2) t["bias2"] = operand(bias, of({8}));
    if (kind == 1) {
      for (const char* name : {"scale", "offset"})
        t[name] = operand(ACL_FLOAT, experts ? Dims{2} : Dims{1});
      t["deqScale1"] = operand(io == ACL_BF16 ? ACL_BF16 : ACL_UINT64, of({6}));
      t["deqScale2"] = operand(io == ACL_BF16 ? ACL_BF16 : ACL_UINT64, of({8}));
    }
    for (const char* name : {"antiquantScale1", "antiquantOffset1"})
      if (kind == 2) t[name] = operand(io, of({6}));
    for (const char* name : {"antiquantScale2", "antiquantOffset2"})
      if (kind == 2) t[name] = operand(io, of({8}));
    t["y"] = operand(io, {4, 8});
    if (experts) call.expert_tokens = Dims{small(4), 4 - small(2)};
    if (experts) t["expertTokens"] = operand(ACL_INT64, {2});  // zeros
    static constexpr const char* kNames[] = {"relu", "GELU", "swiglu", "tanh"};
    call.activation = kNames[random_() % 8 ? random_() % 2 : random_() % 4];
    call.inner_precise = random_() % 16 ? io == ACL_FLOAT16 : small(4);
    call.tokens_are_ends = random_() % 2;
  }
  /// Of four tokens with two of eight experts each; memory is whatever it is.
  void describe_routing(EntryCall& call) {
    const int io = random_() % 2 ? ACL_FLOAT16 : ACL_FLOAT;
    auto& t = call.tensors;
    t.clear();
    t["x"] = operand(io, {4, 8});
    if (random_() % 2) t["finished"] = operand(ACL_BOOL, {4});
    t["yOut"] = operand(io, {4, 2});
    for (const char* name : {"expertIdxOut", "rowIdxOut", "rowIdx", "expertIdx"})
      t[name] = operand(ACL_INT32, {4, 2});
    for (const char* name : {"expandedXOut", "expandedX"}) t[name] = operand(io, {8, 8});
    for (const char* name : {"expandedRowIdxOut", "expandedExpertIdxOut", "expandedRowIdx"})
      t[name] = operand(ACL_INT32, {8});
    for (const char* name : {"x1", "x2", "out"}) t[name] = operand(io, {4, 8});
    t["bias"] = operand(io, {8, 8});
    t["scales"] = operand(io, {4, 2});
    for (const char* name : {"x2", "bias"})
      if (random_() % 2) t.erase(name);
    call.k = random_() % 16 ? 2 : small(9);
    call.active_num = random_() % 16 ? 4 : small(9);
    call.drop_pad_mode = random_() % 4 ? 0 : small(5);
  }
  int operator_call() {
    EntryCall call = entry_call();
    if (call.op.starts_with("aclnnFFN")) describe_ffn(call);
    if (call.op.find("Routing") != std::string::npos || call.op.find("Gating") != std::string::npos)
      describe_routing(call);
    if (call.op.find("Distribute") != std::string::npos) {
      if (random_() % 2) aclrtSetDevice(3);  // where the group of two ranks has one
      describe_moe(call, random_, world_.groups.back().c_str(),
                   [this](int dtype, Dims dims) { return operand(dtype, std::move(dims)); });
    }
    uint64_t size = 0;
    aclOpExecutor* executor = nullptr;
    const int code = first_phase(call, &size, &executor);
    if (code != ACLNN_SUCCESS) return code;
    world_.handles.add(executor);
    return random_() % 8 ? second_phase(call.op, kFrom, sizeof(kFrom), executor) : code;
  }

  World& world_;
  std::mt19937_64 random_;
  void* made_ = nullptr;
  float ms_ = 0;
  int64_t offset_ = 0;
  aclrtStreamStatus status_{};
  aclrtEventRecordedStatus recorded_{};
  static constexpr char kFrom[Places::kBytes] = {};
};

void run(std::uint64_t seed, int threads, int calls) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  // Peers that never call, or never come, are the rule.
  setenv("HCCL_EXEC_TIMEOUT", "0.01", 1);
  setenv("HCCL_CONNECT_TIMEOUT", "0.01", 1);
  setenv("HCCL_BUFFSIZE", "1", 1);
  ASSERT_EQ(aclInit(nullptr), ACL_SUCCESS);
  World world;
  auto members = std::make_unique<Members>(world);
  std::vector<std::thread> callers;
  for (int i = 0; i < threads; ++i)
    callers.emplace_back([&world, seed, i, calls] {
      Caller caller(world, seed * 1000 + static_cast<std::uint64_t>(i));
      for (int call = 0; call < calls; ++call) {
        const int code = caller.call();
        ASSERT_TRUE(known(code)) << "seed " << seed << " thread " << i << " call " << call
                                 << ": code " << code << " " << aclGetRecentErrMsg();
      }
    });
  for (std::thread& caller : callers) caller.join();
  ASSERT_EQ(aclFinalize(), ACL_SUCCESS);
  for (void* comm : world.communicators.all()) {
    const int code = HcclCommDestroy(comm);
    EXPECT_TRUE(code == HCCL_SUCCESS || code == HCCL_E_PTR) << code;
  }
  members.reset();
  EXPECT_EQ(Communicators::instance().size(), 0U);
}

TEST(Fuzz, OneThread) {
  const std::uint64_t base = std::random_device{}();
  for (std::uint64_t i = 0; i < 20; ++i) run(base + i, 1, 2000);
}

TEST(Fuzz, FourThreads) {
  const std::uint64_t base = std::random_device{}();
  for (std::uint64_t i = 0; i < 5; ++i) run(base + i, 4, 1000);
}

}  // namespace
}  // namespace weft::cann
