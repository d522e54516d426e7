# Run with -P: writes OUT_DIR/NAME.{h,cc} with one std::string_view per file in FILES. The assembler's .incbin copies
# the bytes, so a megabyte of text costs no compile time.
file(MAKE_DIRECTORY "${OUT_DIR}")
set(header "#pragma once\n\n#include <string_view>\n\nnamespace vorta::embedded {\n")
set(body "#include \"${NAME}.h\"\n\n")
set(views "namespace vorta::embedded {\n")
foreach(path IN LISTS FILES)
  get_filename_component(base "${path}" NAME)
  string(MAKE_C_IDENTIFIER "${base}" id)
  set(label "vorta_embed_${NAME}_${id}")
  string(APPEND header "/// Bytes of ${base}.\nstd::string_view ${id}();\n")
  string(APPEND body
    "__asm__(\".section .rodata\\n.global ${label}\\n.hidden ${label}\\n${label}:\\n.incbin \\\"${path}\\\"\\n\"\n"
    "        \".global ${label}_end\\n.hidden ${label}_end\\n${label}_end:\\n.byte 0\\n.text\\n\");\n"
    "extern \"C\" const char ${label}[];\nextern \"C\" const char ${label}_end[];\n\n")
  string(APPEND views "std::string_view ${id}() {\n  return {${label}, static_cast<std::size_t>(${label}_end - ${label})};\n}\n")
endforeach()
file(WRITE "${OUT_DIR}/${NAME}.h" "${header}}  // namespace vorta::embedded\n")
file(WRITE "${OUT_DIR}/${NAME}.cc" "${body}${views}}  // namespace vorta::embedded\n")
