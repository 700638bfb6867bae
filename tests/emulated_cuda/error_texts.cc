// The names of CUDA's errors and what CUDA says of them.
#include <cuda_runtime.h>

namespace {

struct ErrorText {
  cudaError_t error;
  const char* name;
  const char* text;
};

#define GNEISS_ERROR(error, text) \
  ErrorText { error, #error, text }
constexpr ErrorText error_texts[] = {
    GNEISS_ERROR(cudaSuccess, "no error"),
    GNEISS_ERROR(cudaErrorInvalidValue, "invalid argument"),
    GNEISS_ERROR(cudaErrorMemoryAllocation, "out of memory"),
    GNEISS_ERROR(cudaErrorInitializationError, "initialization error"),
    GNEISS_ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    GNEISS_ERROR(cudaErrorInvalidHostPointer, "invalid host pointer"),
    GNEISS_ERROR(cudaErrorInvalidDevicePointer, "invalid device pointer"),
    GNEISS_ERROR(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    GNEISS_ERROR(cudaErrorStubLibrary, "CUDA driver is a stub library"),
    GNEISS_ERROR(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"),
    GNEISS_ERROR(cudaErrorDevicesUnavailable, "CUDA-capable device(s) is/are busy or unavailable"),
    GNEISS_ERROR(cudaErrorInvalidDeviceFunction, "invalid device function"),
    GNEISS_ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    GNEISS_ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    GNEISS_ERROR(cudaErrorNoKernelImageForDevice, "no kernel image is available for execution on the device"),
    GNEISS_ERROR(cudaErrorECCUncorrectable, "uncorrectable ECC error encountered"),
    GNEISS_ERROR(cudaErrorUnsupportedPtxVersion,
                 "the provided PTX was compiled with an unsupported toolchain."),
    GNEISS_ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    GNEISS_ERROR(cudaErrorNotReady, "device not ready"),
    GNEISS_ERROR(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    GNEISS_ERROR(cudaErrorLaunchOutOfResources, "too many resources requested for launch"),
    GNEISS_ERROR(cudaErrorLaunchTimeout, "the launch timed out and was terminated"),
    GNEISS_ERROR(cudaErrorHostMemoryAlreadyRegistered,
                 "part or all of the requested memory range is already mapped"),
    GNEISS_ERROR(cudaErrorHostMemoryNotRegistered,
                 "pointer does not correspond to a registered memory region"),
    GNEISS_ERROR(cudaErrorMisalignedAddress, "misaligned address"),
    GNEISS_ERROR(cudaErrorLaunchFailure, "unspecified launch failure"),
    GNEISS_ERROR(cudaErrorNotPermitted, "operation not permitted"),
    GNEISS_ERROR(cudaErrorNotSupported, "operation not supported"),
    GNEISS_ERROR(cudaErrorSystemNotReady, "system not yet initialized"),
    GNEISS_ERROR(cudaErrorSystemDriverMismatch,
                 "system has unsupported display driver / cuda driver combination"),
    GNEISS_ERROR(cudaErrorUnknown, "unknown error"),
};
#undef GNEISS_ERROR

const ErrorText* find_text(cudaError_t error) {
  for (const ErrorText& text : error_texts) {
    if (text.error == error) return &text;
  }
  return nullptr;
}

}  // namespace

extern "C" {

const char* cudaGetErrorString(cudaError_t error) {
  const ErrorText* const text = find_text(error);
  return text == nullptr ? "unrecognized error code" : text->text;
}

const char* cudaGetErrorName(cudaError_t error) {
  const ErrorText* const text = find_text(error);
  return text == nullptr ? "unrecognized error code" : text->name;
}

}  // extern "C"
