"""The Streamlit app: pages over the same functions as the command line."""
