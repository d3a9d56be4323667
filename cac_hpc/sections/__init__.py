"""What a report says, subject by subject: sentences, tables, files of the same numbers, figures."""
