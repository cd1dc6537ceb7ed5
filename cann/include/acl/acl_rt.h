/* SPDX-License-Identifier: Apache-2.0 */
/* Devices, contexts, streams, events, memory.
 *
 * A device is virtual: memory of this process and the threads of its streams. The current context
 * belongs to the thread; a new thread has none. Handles that were destroyed or never existed are
 * recognised and give an error. Functions that name no errors of their own return:
 *   ACL_ERROR_INVALID_PARAM          a required pointer is null
 *   ACL_ERROR_RT_PARAM_INVALID       another argument is out of range
 *   ACL_ERROR_RT_CONTEXT_NULL        the thread has no current context, or it was destroyed
 *   ACL_ERROR_RT_INVALID_HANDLE      no such stream or event
 *   ACL_ERROR_RT_STREAM_CONTEXT      the stream belongs to another context
 *   ACL_ERROR_RT_RESOURCE_ALLOC_FAIL the system gives no more threads
 */
#ifndef WEFT_CANN_ACL_RT_H
#define WEFT_CANN_ACL_RT_H

#include "acl/acl_base_rt.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Flags of aclrtCreateStreamWithConfig; hints only. */
#define ACL_STREAM_FAST_LAUNCH 0x00000001U
#define ACL_STREAM_FAST_SYNC 0x00000002U

/* Flags of aclrtCreateEventWithFlag. Every event can be waited for; TIME_LINE also measures. */
#define ACL_EVENT_SYNC 0x00000001U
#define ACL_EVENT_CAPTURE_STREAM_PROGRESS 0x00000002U
#define ACL_EVENT_TIME_LINE 0x00000008U

/* aclrtSetStreamFailureMode, and `streamMode` of the operators. */
#define ACL_CONTINUE_ON_FAILURE 0x00000000U
#define ACL_STOP_ON_FAILURE 0x00000001U

typedef enum aclrtRunMode { ACL_DEVICE = 0, ACL_HOST = 1 } aclrtRunMode;

typedef enum aclrtMemcpyKind {
  ACL_MEMCPY_HOST_TO_HOST = 0,
  ACL_MEMCPY_HOST_TO_DEVICE = 1,
  ACL_MEMCPY_DEVICE_TO_HOST = 2,
  ACL_MEMCPY_DEVICE_TO_DEVICE = 3,
  ACL_MEMCPY_DEFAULT = 4,
  ACL_MEMCPY_HOST_TO_BUF_TO_DEVICE = 5,
  ACL_MEMCPY_INNER_DEVICE_TO_DEVICE = 6,
  ACL_MEMCPY_INTER_DEVICE_TO_DEVICE = 7
} aclrtMemcpyKind;

typedef enum aclrtMemMallocPolicy {
  ACL_MEM_MALLOC_HUGE_FIRST = 0,
  ACL_MEM_MALLOC_HUGE_ONLY = 1,
  ACL_MEM_MALLOC_NORMAL_ONLY = 2,
  ACL_MEM_MALLOC_HUGE_FIRST_P2P = 3,
  ACL_MEM_MALLOC_HUGE_ONLY_P2P = 4,
  ACL_MEM_MALLOC_NORMAL_ONLY_P2P = 5,
  ACL_MEM_MALLOC_HUGE1G_ONLY = 6,
  ACL_MEM_MALLOC_HUGE1G_ONLY_P2P = 7,
  ACL_MEM_TYPE_LOW_BAND_WIDTH = 0x0100,
  ACL_MEM_TYPE_HIGH_BAND_WIDTH = 0x1000
} aclrtMemMallocPolicy;

typedef enum aclrtMemAttr {
  ACL_DDR_MEM = 0,
  ACL_HBM_MEM = 1,
  ACL_DDR_MEM_HUGE = 2,
  ACL_DDR_MEM_NORMAL = 3,
  ACL_HBM_MEM_HUGE = 4,
  ACL_HBM_MEM_NORMAL = 5,
  ACL_DDR_MEM_P2P_HUGE = 6,
  ACL_DDR_MEM_P2P_NORMAL = 7,
  ACL_HBM_MEM_P2P_HUGE = 8,
  ACL_HBM_MEM_P2P_NORMAL = 9
} aclrtMemAttr;

typedef enum aclrtEventStatus {
  ACL_EVENT_STATUS_COMPLETE = 0,
  ACL_EVENT_STATUS_NOT_READY = 1
} aclrtEventStatus;

/* The opposite order of aclrtEventStatus. */
typedef enum aclrtEventRecordedStatus {
  ACL_EVENT_RECORDED_STATUS_NOT_READY = 0,
  ACL_EVENT_RECORDED_STATUS_COMPLETE = 1
} aclrtEventRecordedStatus;

typedef enum aclrtEventWaitStatus {
  ACL_EVENT_WAIT_STATUS_COMPLETE = 0,
  ACL_EVENT_WAIT_STATUS_NOT_READY = 1
} aclrtEventWaitStatus;

typedef enum aclrtStreamStatus {
  ACL_STREAM_STATUS_COMPLETE = 0,
  ACL_STREAM_STATUS_NOT_READY = 1
} aclrtStreamStatus;

typedef enum aclrtCallbackBlockType {
  ACL_CALLBACK_NO_BLOCK = 0,
  ACL_CALLBACK_BLOCK = 1
} aclrtCallbackBlockType;

typedef enum aclrtFloatOverflowMode {
  ACL_RT_OVERFLOW_MODE_SATURATION = 0,
  ACL_RT_OVERFLOW_MODE_INFNAN = 1,
  ACL_RT_OVERFLOW_MODE_UNDEF = 2
} aclrtFloatOverflowMode;

typedef enum aclrtLastErrLevel { ACL_RT_THREAD_LEVEL = 0 } aclrtLastErrLevel;

typedef enum aclSysParamOpt {
  ACL_OPT_DETERMINISTIC = 0,
  ACL_OPT_ENABLE_DEBUG_KERNEL = 1,
  ACL_OPT_STRONG_CONSISTENCY = 2,
  ACL_OPT_KERNEL_EARLY_START = 3
} aclSysParamOpt;

typedef void (*aclrtCallback)(void *userData);
typedef void (*aclrtHostFunc)(void *args);

/* ---- devices ---- */

/**
 * Makes a device current for the calling thread, through the device's default context, and counts.
 * Errors: ACL_ERROR_RT_INVALID_DEVICEID.
 */
ACL_FUNC_VISIBILITY aclError aclrtSetDevice(int32_t deviceId);

/**
 * Takes back one aclrtSetDevice. The last one waits for the tasks, then releases the default
 * context with its streams. Errors: ACL_ERROR_RT_INVALID_DEVICEID; ACL_ERROR_RT_PARAM_INVALID if
 * the device is not set.
 */
ACL_FUNC_VISIBILITY aclError aclrtResetDevice(int32_t deviceId);

/** aclrtResetDevice as if it were the last one. */
ACL_FUNC_VISIBILITY aclError aclrtResetDeviceForce(int32_t deviceId);

/** The device of the current context. */
ACL_FUNC_VISIBILITY aclError aclrtGetDevice(int32_t *deviceId);

/** How many devices there are: WEFT_DEVICES, less what ASCEND_RT_VISIBLE_DEVICES leaves out. */
ACL_FUNC_VISIBILITY aclError aclrtGetDeviceCount(uint32_t *count);

/** Always ACL_HOST. */
ACL_FUNC_VISIBILITY aclError aclrtGetRunMode(aclrtRunMode *runMode);

/** Waits until every stream of the current device is empty. Errors: the first failed task's code.
 */
ACL_FUNC_VISIBILITY aclError aclrtSynchronizeDevice(void);

/** The same for at most timeout milliseconds (-1: for ever). Errors: also
 * ACL_ERROR_RT_STREAM_SYNC_TIMEOUT. */
ACL_FUNC_VISIBILITY aclError aclrtSynchronizeDeviceWithTimeout(int32_t timeout);

/** Overflow gives infinity on a CPU, so INFNAN is the only mode that can be set.
 * Errors: ACL_ERROR_RT_FEATURE_NOT_SUPPORT. */
ACL_FUNC_VISIBILITY aclError aclrtSetDeviceSatMode(aclrtFloatOverflowMode mode);
ACL_FUNC_VISIBILITY aclError aclrtGetDeviceSatMode(aclrtFloatOverflowMode *mode);

/** Seconds an event wait of a stream may take, 0 (the default): for ever. Longer ones fail with
 * ACL_ERROR_RT_WAIT_TIMEOUT. */
ACL_FUNC_VISIBILITY aclError aclrtSetOpWaitTimeout(uint32_t timeout);

/** Operators cannot be interrupted here: ACL_ERROR_RT_FEATURE_NOT_SUPPORT. Waits for peers end by
 * HCCL_EXEC_TIMEOUT. */
ACL_FUNC_VISIBILITY aclError aclrtSetOpExecuteTimeOut(uint32_t timeout);

/** Settings of the current context; both spellings mean the same. weft always runs
 * deterministically and consistently, whatever is set. Errors of Get:
 * ACL_ERROR_RT_SYSPARAMOPT_NOT_SET. */
ACL_FUNC_VISIBILITY aclError aclrtCtxSetSysParamOpt(aclSysParamOpt opt, int64_t value);
ACL_FUNC_VISIBILITY aclError aclrtCtxGetSysParamOpt(aclSysParamOpt opt, int64_t *value);
ACL_FUNC_VISIBILITY aclError aclrtSetSysParamOpt(aclSysParamOpt opt, int64_t value);
ACL_FUNC_VISIBILITY aclError aclrtGetSysParamOpt(aclSysParamOpt opt, int64_t *value);

/** The code of the last failed runtime call of this thread, or ACL_SUCCESS; Get also forgets it. */
ACL_FUNC_VISIBILITY aclError aclrtPeekAtLastError(aclrtLastErrLevel level);
ACL_FUNC_VISIBILITY aclError aclrtGetLastError(aclrtLastErrLevel level);

/* ---- contexts ---- */

/** A context of its own on a device, current at once. Errors: ACL_ERROR_RT_INVALID_DEVICEID. */
ACL_FUNC_VISIBILITY aclError aclrtCreateContext(aclrtContext *context, int32_t deviceId);

/** Waits for its streams and destroys them with it. Errors: ACL_ERROR_RT_PARAM_INVALID for a
 * default context or no context. */
ACL_FUNC_VISIBILITY aclError aclrtDestroyContext(aclrtContext context);

/** Errors: ACL_ERROR_RT_PARAM_INVALID (no such context). */
ACL_FUNC_VISIBILITY aclError aclrtSetCurrentContext(aclrtContext context);
ACL_FUNC_VISIBILITY aclError aclrtGetCurrentContext(aclrtContext *context);
ACL_FUNC_VISIBILITY aclError aclrtCtxGetCurrentDefaultStream(aclrtStream *stream);

/* ---- streams: first in, first out; NULL stands for the default stream of the context ---- */

/** Errors: ACL_ERROR_RT_NO_STREAM_RESOURCE (more than 1984 on the device). */
ACL_FUNC_VISIBILITY aclError aclrtCreateStream(aclrtStream *stream);

/** priority 0..7; priority and flag change nothing here. */
ACL_FUNC_VISIBILITY aclError aclrtCreateStreamWithConfig(aclrtStream *stream, uint32_t priority,
                                                         uint32_t flag);

/** Waits for the tasks, then destroys. Not for default streams (ACL_ERROR_RT_PARAM_INVALID) and not
 * for NULL (ACL_ERROR_INVALID_PARAM). */
ACL_FUNC_VISIBILITY aclError aclrtDestroyStream(aclrtStream stream);

/** Drops the tasks that have not begun, waits for the one that has, then destroys. */
ACL_FUNC_VISIBILITY aclError aclrtDestroyStreamForce(aclrtStream stream);

/** Waits until the tasks submitted so far are done. Errors: the first failed task's code, once (for
 * ever after ACL_STOP_ON_FAILURE); ACL_ERROR_RT_STREAM_ABORT. */
ACL_FUNC_VISIBILITY aclError aclrtSynchronizeStream(aclrtStream stream);

/** The same for at most timeout milliseconds; 0: looks, -1: for ever. Errors: also
 * ACL_ERROR_RT_STREAM_SYNC_TIMEOUT (the tasks go on). */
ACL_FUNC_VISIBILITY aclError aclrtSynchronizeStreamWithTimeout(aclrtStream stream, int32_t timeout);
ACL_FUNC_VISIBILITY aclError aclrtStreamQuery(aclrtStream stream, aclrtStreamStatus *status);

/** Drops the tasks that have not begun; whoever waits gets ACL_ERROR_RT_STREAM_ABORT. The task that
 * runs goes on. */
ACL_FUNC_VISIBILITY aclError aclrtStreamAbort(aclrtStream stream);

/**
 * What a failed task means for the stream; once per stream. ACL_CONTINUE_ON_FAILURE, the default:
 * later tasks run, the next synchronise reports. ACL_STOP_ON_FAILURE: the tasks waiting in this
 * stream and in the others of its context are dropped, and none are accepted any more
 * (ACL_ERROR_RT_STREAM_ABORT). Errors: ACL_ERROR_RT_PARAM_INVALID (set before).
 */
ACL_FUNC_VISIBILITY aclError aclrtSetStreamFailureMode(aclrtStream stream, uint64_t mode);

/* ---- events ---- */

/** An event that can measure. */
ACL_FUNC_VISIBILITY aclError aclrtCreateEvent(aclrtEvent *event);
ACL_FUNC_VISIBILITY aclError aclrtCreateEventWithFlag(aclrtEvent *event, uint32_t flag);
ACL_FUNC_VISIBILITY aclError aclrtCreateEventExWithFlag(aclrtEvent *event, uint32_t flag);

/** At once; streams that wait for it still see it. */
ACL_FUNC_VISIBILITY aclError aclrtDestroyEvent(aclrtEvent event);

/** The event is complete when the tasks before it in the stream are. May be recorded again. */
ACL_FUNC_VISIBILITY aclError aclrtRecordEvent(aclrtEvent event, aclrtStream stream);
ACL_FUNC_VISIBILITY aclError aclrtQueryEventStatus(aclrtEvent event,
                                                   aclrtEventRecordedStatus *status);

/** Waits for the latest record; returns at once if there is none. */
ACL_FUNC_VISIBILITY aclError aclrtSynchronizeEvent(aclrtEvent event);

/** timeout as for streams. Errors: also ACL_ERROR_RT_EVENT_SYNC_TIMEOUT. */
ACL_FUNC_VISIBILITY aclError aclrtSynchronizeEventWithTimeout(aclrtEvent event, int32_t timeout);

/** Milliseconds between two complete records. Errors: ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID (not
 * complete, or made without ACL_EVENT_TIME_LINE), ACL_ERROR_RT_EVENT_TIMESTAMP_REVERSAL. */
ACL_FUNC_VISIBILITY aclError aclrtEventElapsedTime(float *ms, aclrtEvent startEvent,
                                                   aclrtEvent endEvent);

/** Later tasks of the stream wait for the record that is the latest now. */
ACL_FUNC_VISIBILITY aclError aclrtStreamWaitEvent(aclrtStream stream, aclrtEvent event);

/* ---- memory ---- */

/** Uninitialised memory, 64-byte aligned. Errors: ACL_ERROR_INVALID_PARAM (null or size 0),
 * ACL_ERROR_RT_INVALID_MALLOC_TYPE (policy), ACL_ERROR_RT_MEMORY_ALLOCATION. */
ACL_FUNC_VISIBILITY aclError aclrtMalloc(void **devPtr, size_t size, aclrtMemMallocPolicy policy);
ACL_FUNC_VISIBILITY aclError aclrtMallocAlign32(void **devPtr, size_t size,
                                                aclrtMemMallocPolicy policy);
ACL_FUNC_VISIBILITY aclError aclrtMallocCached(void **devPtr, size_t size,
                                               aclrtMemMallocPolicy policy);

/** At once: does not wait for streams. Errors: ACL_ERROR_INVALID_PARAM (null);
 * ACL_ERROR_RT_PARAM_INVALID for memory that did not come from aclrtMalloc*, or was freed. */
ACL_FUNC_VISIBILITY aclError aclrtFree(void *devPtr);
ACL_FUNC_VISIBILITY aclError aclrtMallocHost(void **hostPtr, size_t size);
ACL_FUNC_VISIBILITY aclError aclrtFreeHost(void *hostPtr);

/** Sets count bytes. Errors: ACL_ERROR_RT_PARAM_INVALID if maxCount < count. */
ACL_FUNC_VISIBILITY aclError aclrtMemset(void *devPtr, size_t maxCount, int32_t value,
                                         size_t count);
ACL_FUNC_VISIBILITY aclError aclrtMemsetAsync(void *devPtr, size_t maxCount, int32_t value,
                                              size_t count, aclrtStream stream);

/** Copies count bytes at once, without waiting for streams. kind says nothing that the addresses do
 * not. count 0 is a success whatever the pointers. The memory must not overlap. Errors:
 * ACL_ERROR_INVALID_PARAM (null), ACL_ERROR_RT_PARAM_INVALID (destMax < count, kind). */
ACL_FUNC_VISIBILITY aclError aclrtMemcpy(void *dst, size_t destMax, const void *src, size_t count,
                                         aclrtMemcpyKind kind);
ACL_FUNC_VISIBILITY aclError aclrtMemcpyAsync(void *dst, size_t destMax, const void *src,
                                              size_t count, aclrtMemcpyKind kind,
                                              aclrtStream stream);

/** height rows of width bytes, dpitch and spitch bytes apart (both at least width). */
ACL_FUNC_VISIBILITY aclError aclrtMemcpy2d(void *dst, size_t dpitch, const void *src, size_t spitch,
                                           size_t width, size_t height, aclrtMemcpyKind kind);
ACL_FUNC_VISIBILITY aclError aclrtMemcpy2dAsync(void *dst, size_t dpitch, const void *src,
                                                size_t spitch, size_t width, size_t height,
                                                aclrtMemcpyKind kind, aclrtStream stream);

/** Memory of this machine in bytes, whatever attr. */
ACL_FUNC_VISIBILITY aclError aclrtGetMemInfo(aclrtMemAttr attr, size_t *freeSize, size_t *total);

/* ---- functions of the program in a stream ---- */

/** fn(args) runs in the stream's thread. It must not call into acl. */
ACL_FUNC_VISIBILITY aclError aclrtLaunchHostFunc(aclrtStream stream, aclrtHostFunc fn, void *args);

/** fn(userData) runs in the thread that is subscribed to the stream, inside aclrtProcessReport.
 * ACL_CALLBACK_BLOCK: later tasks of the stream wait for it. Errors: ACL_ERROR_RT_STREAM_NO_CB_REG
 * (nobody is subscribed). */
ACL_FUNC_VISIBILITY aclError aclrtLaunchCallback(aclrtCallback fn, void *userData,
                                                 aclrtCallbackBlockType blockType,
                                                 aclrtStream stream);

/** threadId: pthread_self() of the thread that will call aclrtProcessReport. One per stream.
 * Errors: ACL_ERROR_RT_STREAM_SUBSCRIBE (the stream has one). */
ACL_FUNC_VISIBILITY aclError aclrtSubscribeReport(uint64_t threadId, aclrtStream stream);

/** Runs one callback of the streams the calling thread is subscribed to; waits for it at most
 * timeout milliseconds (-1: for ever). Errors: ACL_ERROR_WAIT_CALLBACK_TIMEOUT;
 * ACL_ERROR_RT_THREAD_SUBSCRIBE (the thread is not subscribed). */
ACL_FUNC_VISIBILITY aclError aclrtProcessReport(int32_t timeout);

/** Errors: ACL_ERROR_RT_STREAM_SUBSCRIBE (not subscribed). */
ACL_FUNC_VISIBILITY aclError aclrtUnSubscribeReport(uint64_t threadId, aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
