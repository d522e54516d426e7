# Whether the kernels get their CUDA variants. Sets VORTA_CUDA_KERNELS, enables the language, and adds
# vorta_cuda_library. CUDA's runtime is linked statically, so that one binary runs on machines without a driver, too.
set(VORTA_CUDA AUTO CACHE STRING "CUDA variants of the kernels: ON, OFF, or AUTO (on where nvcc and an NVIDIA GPU are)")
set_property(CACHE VORTA_CUDA PROPERTY STRINGS AUTO ON OFF)

function(vorta_is_cuda_13 result candidate)
  execute_process(COMMAND "${candidate}" --version OUTPUT_VARIABLE version ERROR_QUIET)
  if(NOT version MATCHES "release 13\\.")
    set(${result} FALSE PARENT_SCOPE)
  endif()
endfunction()
# The wheels' compiler first: set-up installs it only where the system has no CUDA 13.
find_program(VORTA_NVCC nvcc HINTS "${VORTA_TORCH_DIR}/nvidia/cu13/bin" PATHS "$ENV{CUDA_HOME}/bin" /usr/local/cuda/bin
             VALIDATOR vorta_is_cuda_13 DOC "CUDA 13 compiler; cmake/requirements-cuda.txt holds it as wheels")

set(VORTA_CUDA_KERNELS OFF)
if(VORTA_CUDA STREQUAL "AUTO")
  # A driver's own traces, since asking the driver would need a program that runs. The last one is Windows' subsystem.
  foreach(trace /dev/nvidiactl /proc/driver/nvidia/version /usr/lib/wsl/lib/libcuda.so.1)
    if(VORTA_NVCC AND EXISTS "${trace}")
      set(VORTA_CUDA_KERNELS ON)
    endif()
  endforeach()
elseif(VORTA_CUDA)
  if(NOT VORTA_NVCC)
    message(FATAL_ERROR "VORTA_CUDA=ON needs nvcc of CUDA 13: install it, or the wheels of cmake/requirements-cuda.txt "
                        "beside the torch wheel.")
  endif()
  set(VORTA_CUDA_KERNELS ON)
endif()

if(NOT VORTA_CUDA_KERNELS)
  message(STATUS "CUDA variants of the kernels: not built (VORTA_CUDA=${VORTA_CUDA}, nvcc: ${VORTA_NVCC})")
  return()
endif()

# Ampere runs sm_80, Hopper its own code, newer GPUs the sm_80 PTX.
set(CMAKE_CUDA_ARCHITECTURES 80 90a-real)
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
set(CMAKE_CUDA_COMPILER "${VORTA_NVCC}")
set(CMAKE_CUDA_HOST_COMPILER "${CMAKE_CXX_COMPILER}")
enable_language(CUDA)
message(STATUS "CUDA variants of the kernels: built by ${VORTA_NVCC} ${CMAKE_CUDA_COMPILER_VERSION}")

# vorta_cuda_library(name [ARCHITECTURES 90a-real ...] SOURCES a.cu b.cu ...): sources that may include CUDA's headers.
# ARCHITECTURES is for code that only one generation of GPUs can run.
function(vorta_cuda_library name)
  cmake_parse_arguments(arg "" "" "ARCHITECTURES;SOURCES" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  if(arg_ARCHITECTURES)
    set_target_properties(${name} PROPERTIES CUDA_ARCHITECTURES "${arg_ARCHITECTURES}")
  endif()
  target_include_directories(${name} PRIVATE "${CMAKE_SOURCE_DIR}")
  target_compile_options(${name} PRIVATE -Xcompiler=-Wall,-Wextra,-Wno-unused-parameter
                                         $<$<BOOL:${VORTA_WERROR}>:--Werror=all-warnings>)
endfunction()
