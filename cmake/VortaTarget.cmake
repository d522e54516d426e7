# vorta_library, vorta_executable, vorta_test: the only way targets of this project are made.

add_library(vorta_warnings INTERFACE)
target_compile_options(vorta_warnings INTERFACE -Wall -Wextra -Wshadow -Woverloaded-virtual
                                                $<$<BOOL:${VORTA_WERROR}>:-Werror>)

add_library(vorta_sanitize INTERFACE)
if(VORTA_SANITIZE)
  target_compile_options(vorta_sanitize INTERFACE -fsanitize=address,undefined -fno-omit-frame-pointer)
  target_link_options(vorta_sanitize INTERFACE -fsanitize=address,undefined)
endif()

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER
      "${CMAKE_COMMAND}" -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime "${CCACHE}")
  set(CMAKE_CUDA_COMPILER_LAUNCHER "${CCACHE}")
endif()

# The precompiled header: ATen's tensor body and the ops. Torch-using libraries reuse it.
set(VORTA_PCH_HEADERS <ATen/ATen.h> <fmt/format.h> <map> <nlohmann/json.hpp> <string> <vector>)
add_library(vorta_pch OBJECT "${CMAKE_CURRENT_LIST_DIR}/pch.cc")
target_link_libraries(vorta_pch PRIVATE Torch::headers vorta_warnings vorta_sanitize OpenMP::OpenMP_CXX fmt::fmt nlohmann_json::nlohmann_json)
target_include_directories(vorta_pch PRIVATE "${CMAKE_SOURCE_DIR}")
if(VORTA_PCH)
  target_compile_options(vorta_pch PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
  target_precompile_headers(vorta_pch PRIVATE ${VORTA_PCH_HEADERS})
endif()

function(vorta_common target)
  target_include_directories(${target} PUBLIC "${CMAKE_SOURCE_DIR}")
  target_link_libraries(${target} PRIVATE vorta_warnings vorta_sanitize)
endfunction()

# Torch users compile with the same flags as the precompiled header, or GCC rejects it. A target that names further
# headers gets one of its own, with these added.
function(vorta_use_torch target)
  target_link_libraries(${target} PRIVATE Torch::headers OpenMP::OpenMP_CXX fmt::fmt)
  if(VORTA_PCH)
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
    if(ARGN)
      target_precompile_headers(${target} PRIVATE ${VORTA_PCH_HEADERS} ${ARGN})
    else()
      target_precompile_headers(${target} REUSE_FROM vorta_pch)
    endif()
  endif()
endfunction()

# vorta_library(name [TORCH] SOURCES ... [PUBLIC_DEPS ...] [PRIVATE_DEPS ...] [PRECOMPILE <header>...])
# PRECOMPILE goes with TORCH: headers that most of its sources include and that are slow to compile.
function(vorta_library name)
  cmake_parse_arguments(arg "TORCH" "" "SOURCES;PUBLIC_DEPS;PRIVATE_DEPS;PRECOMPILE" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  string(REPLACE "vorta_" "" short "${name}")
  add_library(vorta::${short} ALIAS ${name})
  vorta_common(${name})
  target_link_libraries(${name} PUBLIC ${arg_PUBLIC_DEPS} PRIVATE ${arg_PRIVATE_DEPS})
  if(arg_TORCH)
    vorta_use_torch(${name} ${arg_PRECOMPILE})
    target_link_libraries(${name} PUBLIC Torch::cpu)
  endif()
endfunction()

# vorta_executable(name [TORCH] SOURCES ... DEPS ...)
function(vorta_executable name)
  cmake_parse_arguments(arg "TORCH" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  vorta_common(${name})
  target_link_libraries(${name} PRIVATE ${arg_DEPS})
  set_target_properties(${name} PROPERTIES BUILD_RPATH "${VORTA_RPATH}")
  if(arg_TORCH)
    vorta_use_torch(${name})
  endif()
endfunction()

# vorta_test(folder [TORCH] SUBJECTS tag... SOURCES ... DEPS ...): executable vorta_tests_<folder>, one ctest entry
# a subject tag. Tests run in the source folder's root; VORTA_SOURCE_DIR is defined for fixtures.
function(vorta_test folder)
  cmake_parse_arguments(arg "TORCH" "" "SUBJECTS;SOURCES;DEPS" ${ARGN})
  set(name vorta_tests_${folder})
  set(torch_flag "")
  if(arg_TORCH)
    set(torch_flag TORCH)
  endif()
  vorta_executable(${name} ${torch_flag} SOURCES ${arg_SOURCES}
                   DEPS ${arg_DEPS} vorta_test_main)
  target_compile_definitions(${name} PRIVATE VORTA_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                                             VORTA_BINARY_DIR="${CMAKE_BINARY_DIR}")
  foreach(subject IN LISTS arg_SUBJECTS)
    add_test(NAME ${folder}.${subject} COMMAND ${name} "[${subject}]" --warn NoTests WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}")
    set_tests_properties(${folder}.${subject} PROPERTIES LABELS "${folder};${subject}" TIMEOUT 600)
  endforeach()
endfunction()
