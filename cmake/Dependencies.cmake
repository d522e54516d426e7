# Third parties, all as SYSTEM imported targets. Versions are pinned by the root script that installs them.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(ZLIB REQUIRED)
find_package(benchmark REQUIRED)
find_package(Catch2 REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
pkg_check_modules(FFMPEG REQUIRED IMPORTED_TARGET libavformat libavcodec libswscale libavutil)
pkg_check_modules(SENTENCEPIECE REQUIRED IMPORTED_TARGET sentencepiece)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(HTTPLIB REQUIRED IMPORTED_TARGET cpp-httplib)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)

# The torch wheel without its GPU dependencies: libtorch_cpu and libc10 need only libcudart and libcupti beside them.
if(NOT VORTA_TORCH_DIR)
  file(GLOB torch_candidates "${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages")
  if(torch_candidates)
    list(GET torch_candidates 0 VORTA_TORCH_DIR)
  endif()
endif()
if(NOT EXISTS "${VORTA_TORCH_DIR}/torch/lib/libtorch_cpu.so")
  message(FATAL_ERROR "No torch wheel under '${VORTA_TORCH_DIR}'. Run ./vorta-bench doctor once: it sets up "
                      ".venv, or pass -DVORTA_TORCH_DIR=<site-packages with torch 2.11>.")
endif()
set(torch_lib_dir "${VORTA_TORCH_DIR}/torch/lib")
set(VORTA_RPATH "${torch_lib_dir}" "${VORTA_TORCH_DIR}/nvidia/cu13/lib")

add_library(torch_headers INTERFACE)
add_library(Torch::headers ALIAS torch_headers)
target_include_directories(torch_headers SYSTEM INTERFACE "${VORTA_TORCH_DIR}/torch/include")
target_compile_definitions(torch_headers INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
# The wheel's include folder carries fmt headers newer than the system's library (another inline namespace): their
# bodies are compiled once here. Header-only, they would double the time of every file.
add_library(torch_fmt STATIC "${CMAKE_CURRENT_LIST_DIR}/torch_fmt.cc")
target_include_directories(torch_fmt SYSTEM PRIVATE "${VORTA_TORCH_DIR}/torch/include")
target_link_libraries(torch_headers INTERFACE torch_fmt)

add_library(torch_cpu INTERFACE)
add_library(Torch::cpu ALIAS torch_cpu)
target_link_libraries(torch_cpu INTERFACE torch_headers "${torch_lib_dir}/libtorch_cpu.so" "${torch_lib_dir}/libc10.so")
foreach(dir IN LISTS VORTA_RPATH)
  target_link_options(torch_cpu INTERFACE "-Wl,-rpath-link,${dir}")
endforeach()

# Headers of CUPTI, the CUDA driver and NVTX, from the wheels; none of their libraries is linked.
add_library(cupti_headers INTERFACE)
add_library(Cupti::headers ALIAS cupti_headers)
set(cuda_include_dir "${VORTA_TORCH_DIR}/nvidia/cu13/include")
foreach(header IN ITEMS cupti.h cuda.h nvtx3/nvToolsExt.h)
  if(NOT EXISTS "${cuda_include_dir}/${header}")
    message(FATAL_ERROR "No ${header} under '${cuda_include_dir}'. Install the wheels of cmake/requirements.txt.")
  endif()
endforeach()
target_include_directories(cupti_headers SYSTEM INTERFACE "${cuda_include_dir}")

# One OpenMP runtime in the process: the one LibTorch was built against.
add_library(vorta_openmp INTERFACE)
target_compile_options(vorta_openmp INTERFACE ${OpenMP_CXX_FLAGS})
target_link_libraries(vorta_openmp INTERFACE "${torch_lib_dir}/libgomp.so.1")
