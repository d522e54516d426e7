# vorta_embed_text(target NAME symbol FILES a b ...): makes <symbol>.h with a std::string_view per file and compiles
# the bytes into the target. The text stays in its own file, where editors and linters understand it.
function(vorta_embed_text target)
  cmake_parse_arguments(arg "" "NAME" "FILES" ${ARGN})
  set(out_dir "${CMAKE_CURRENT_BINARY_DIR}/embedded")
  set(source "${out_dir}/${arg_NAME}.cc")
  set(header "${out_dir}/${arg_NAME}.h")
  set(paths "")
  foreach(file IN LISTS arg_FILES)
    cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}")
    list(APPEND paths "${file}")
  endforeach()
  add_custom_command(
    OUTPUT "${source}" "${header}"
    COMMAND "${CMAKE_COMMAND}" -DNAME=${arg_NAME} -DOUT_DIR=${out_dir} "-DFILES=${paths}"
            -P "${CMAKE_SOURCE_DIR}/cmake/embed_text_script.cmake"
    DEPENDS ${paths} "${CMAKE_SOURCE_DIR}/cmake/embed_text_script.cmake"
    VERBATIM)
  target_sources(${target} PRIVATE "${source}" "${header}")
  set_source_files_properties("${source}" PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
  target_include_directories(${target} PRIVATE "${out_dir}")
endfunction()
