"""The parts of the two encoders on towers of the Hugging Face hub: what is stored, made gray, heard."""
